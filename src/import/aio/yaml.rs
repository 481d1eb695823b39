//! YAML and JSON as a tree with places, of bounded size whatever a file says.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use hashbrown::HashMap;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use zeroize::Zeroizing;

/// Nodes of one file, what its aliases stand for included.
const NODES_MAX: usize = 200_000;

/// Lists and maps inside each other.
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
    /// Nodes below, this one included.
    size: usize,
}

/// A value. Texts may be secret.
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    Text(Zeroizing<String>),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// A key with its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Rc<Node>,
}

/// Why a file is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct YamlFault {
    pub(super) line: usize,
    pub(super) text: String,
}

impl YamlFault {
    fn new(line: usize, text: impl Into<String>) -> Self {
        Self {
            line,
            text: text.into(),
        }
    }
}

impl Value {
    /// What the value is, for people.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a table",
        }
    }
}

/// Every document of a text, empty ones left out.
pub(super) fn parse(text: &str) -> Result<Vec<Rc<Node>>, YamlFault> {
    let mut reading = Reading {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: Cell::new(0),
    };
    let mut documents = Vec::new();
    loop {
        match reading.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(documents),
            Some((Event::DocumentStart(_), _)) => {
                reading.anchors.clear();
                let Some((event, span)) = reading.next()? else {
                    return Ok(documents);
                };
                let node = reading.node(event, span, 0)?;
                if !matches!(node.value, Value::Null) {
                    documents.push(node);
                }
            }
            Some(_) => {}
        }
    }
}

struct Reading<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: Cell<usize>,
}

impl<'t> Reading<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, YamlFault> {
        self.parser
            .next_event()
            .transpose()
            .map_err(|error: ScanError| YamlFault::new(error.marker().line(), error.info()))
    }

    fn awaited(&mut self, line: usize) -> Result<(Event<'t>, Span), YamlFault> {
        self.next()?
            .ok_or_else(|| YamlFault::new(line, "the file ends in the middle of a value"))
    }

    /// Counts nodes against the bound.
    fn count(&self, nodes: usize, line: usize) -> Result<(), YamlFault> {
        let total = self.nodes.get().saturating_add(nodes);
        self.nodes.set(total);
        if total > NODES_MAX {
            let text = format!("there are more than {NODES_MAX} values, aliases included");
            return Err(YamlFault::new(line, text));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Rc<Node>, YamlFault> {
        let line = span.start.line();
        if depth > DEPTH_MAX {
            let text = format!("more than {DEPTH_MAX} lists and tables are inside each other");
            return Err(YamlFault::new(line, text));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                // An anchor that is still open would contain itself.
                let known = self.anchors.get(&anchor).cloned();
                let node = known.ok_or_else(|| {
                    YamlFault::new(line, "an alias stands for something that is not there yet")
                })?;
                self.count(node.size, line)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, _) => (scalar(text.into_owned(), style), anchor),
            Event::SequenceStart(anchor, _) => (Value::List(self.list(line, depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(line, depth)?), anchor),
            _ => return Err(YamlFault::new(line, "a value is missing")),
        };
        self.count(1, line)?;
        let below = match &value {
            Value::Null | Value::Text(_) => 0,
            Value::List(nodes) => nodes
                .iter()
                .fold(0, |sum, node| node.size.saturating_add(sum)),
            Value::Map(entries) => entries
                .iter()
                .fold(0, |sum, entry| entry.node.size.saturating_add(sum)),
        };
        let node = Rc::new(Node {
            line,
            value,
            size: below.saturating_add(1),
        });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn list(&mut self, line: usize, depth: usize) -> Result<Vec<Rc<Node>>, YamlFault> {
        let mut nodes = Vec::new();
        loop {
            match self.awaited(line)? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, line: usize, depth: usize) -> Result<Vec<Entry>, YamlFault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut keys = HashSet::new();
        loop {
            let (event, span) = self.awaited(line)?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(YamlFault::new(line, "a key is not a text")),
            };
            self.count(1, line)?;
            if !keys.insert(key.clone()) {
                let text = format!("the key `{}` stands here twice", shown_key(&key));
                return Err(YamlFault::new(line, text));
            }
            let (event, span) = self.awaited(line)?;
            let node = self.node(event, span, depth + 1)?;
            entries.push(Entry { key, line, node });
        }
    }
}

/// A key as it may be shown.
pub(super) fn shown_key(key: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let shown: String = key
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if key.chars().nth(SHOWN_MAX).is_some() {
        format!("{shown}…")
    } else {
        shown
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let is_null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    if style == ScalarStyle::Plain && is_null {
        Value::Null
    } else {
        Value::Text(Zeroizing::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "-".to_owned(),
            Value::Text(text) => text.to_string(),
            Value::List(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(|node| shown(node)).collect();
                format!("[{}]", nodes.join(","))
            }
            Value::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("{}@{}={}", entry.key, entry.line, shown(&entry.node)))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    fn parsed(text: &str) -> Vec<String> {
        let documents = parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        documents.iter().map(|node| shown(node)).collect()
    }

    #[test]
    fn documents_have_places() {
        let text = "a: 1\nb:\n- x\n- {c: 'd'}\n---\n# nothing\n---\nn: ~\nq: \"null\"\n";
        assert_eq!(
            parsed(text),
            ["{a@1=1,b@2=[x,{c@4=d}]}", "{n@8=-,q@9=null}"]
        );
        assert_eq!(
            parsed("{\"a\":\n\t[1, {\"b\": true}]}"),
            ["{a@1=[1,{b@2=true}]}"]
        );
        assert!(parsed("").is_empty());
    }

    #[test]
    fn aliases_are_counted() {
        assert_eq!(parsed("a: &x [1, 2]\nb: *x\n"), ["{a@1=[1,2],b@2=[1,2]}"]);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            let items = [before.as_str(); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let fault = parse(&bomb).err().unwrap();
        assert!(fault.text.contains("more than 200000 values"), "{fault:?}");
    }

    #[test]
    fn a_large_table_takes_no_longer_for_each_key() {
        // Compared with all before it, the last of these keys would come after minutes.
        let mut text: String = (0..95_000).map(|key| format!("key{key}: 1\n")).collect();
        text.push_str("key7: 2\n");
        let (done, awaited) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(parse(&text).err()));
        let fault = awaited.recv_timeout(std::time::Duration::from_secs(30));
        let fault = fault.expect("it is read by now").expect("a fault");
        assert_eq!(fault.text, "the key `key7` stands here twice");
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for text in [
            "a: &x [*x]\n",
            "a: *y\n",
            "a: 1\na: 2\n",
            "? [a]\n: b\n",
            "a: [1, 2\n",
            "a: b: c\n",
            &"[".repeat(10_000),
            &"- ".repeat(10_000),
            &"{a: ".repeat(10_000),
        ] {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }
}
