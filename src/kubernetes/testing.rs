//! YAML read back, for tests.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

pub(crate) fn parse(text: &str) -> Vec<Value> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    while let Some(event) = parser.next_event() {
        if let (Event::DocumentStart(_), _) = event.expect("YAML") {
            documents.push(next(&mut parser).expect("a document"));
        }
    }
    documents
}

/// The next value; none at the end of a list or a map.
fn next(parser: &mut Parser<'_, StrInput<'_>>) -> Option<Value> {
    let (event, _) = parser.next_event().expect("more").expect("YAML");
    match event {
        Event::Scalar(text, style, ..) => Some(scalar(&text, style)),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = next(parser) {
                items.push(item);
            }
            Some(Value::Array(items))
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            while let Some(key) = next(parser) {
                let key = key.as_str().expect("a text").to_owned();
                map.insert(key, next(parser).expect("a value"));
            }
            Some(Value::Object(map))
        }
        _ => None,
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true") => Value::Bool(true),
        (ScalarStyle::Plain, "false") => Value::Bool(false),
        (ScalarStyle::Plain, "null" | "") => Value::Null,
        (ScalarStyle::Plain, text) => text
            .parse::<i64>()
            .map_or_else(|_| Value::from(text), Value::from),
        (_, text) => Value::from(text),
    }
}
