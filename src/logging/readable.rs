//! Entries of the journal that a person can read: `journalctl` shows the message alone, so the message says it all.

use std::fmt::{self, Write};

use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Name of the field that holds the text of an entry.
const MESSAGE: &str = "message";

/// Fields of one entry that are passed on; none has half as many.
const FIELDS_MAX: usize = 32;

/// Hands entries to another layer with their values appended to the message. The values stay fields of their own.
#[derive(Debug)]
pub(super) struct Readable<L>(pub(super) L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Readable<L> {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        self.0.on_new_span(attrs, id, ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        self.0.on_record(id, values, ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let fields = event.metadata().fields();
        let Some(message) = fields.field(MESSAGE) else {
            return self.0.on_event(event, ctx);
        };
        let mut entry = Entry::default();
        event.record(&mut entry);
        let line = entry.line();
        let texts: Vec<&str> = entry.values.iter().map(|(_, text)| text.as_str()).collect();
        let mut values: [(&Field, Option<&dyn Value>); FIELDS_MAX] = [(&message, None); FIELDS_MAX];
        let (first, rest) = values.split_at_mut(1);
        first[0].1 = Some(&line);
        for (value, ((field, _), text)) in rest.iter_mut().zip(entry.values.iter().zip(&texts)) {
            *value = (field, Some(text));
        }
        self.0.on_event(
            &Event::new(event.metadata(), &fields.value_set(&values)),
            ctx,
        );
    }
}

/// The parts of an entry as text.
#[derive(Default)]
struct Entry {
    message: String,
    values: Vec<(Field, String)>,
}

impl Entry {
    /// The message with the values behind it.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (field, text) in &self.values {
            // A value that is no plain word is quoted, so that it cannot pass for another one.
            let plain = !text.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            // Writing to a string does not fail.
            let _ = if plain {
                write!(line, " {field}={text}")
            } else {
                write!(line, " {field}={text:?}")
            };
        }
        line
    }

    fn add(&mut self, field: &Field, text: String) {
        if field.name() == MESSAGE {
            self.message = text;
        } else {
            self.values.push((field.clone(), text));
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A layer that keeps what it is given.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut entry = Entry::default();
            event.record(&mut entry);
            let mut kept = self.0.lock().unwrap();
            kept.push(entry.message);
            kept.extend(
                entry
                    .values
                    .iter()
                    .map(|(field, text)| format!("{field}: {text}")),
            );
        }
    }

    #[test]
    fn message_holds_the_values_and_the_fields_stay() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(Readable(kept.clone()));
        tracing::subscriber::with_default(subscriber, || {
            info!(client_id = "pump 7", port = %"*:1883", count = 3, none = Option::<u8>::None, "client refused");
            info!("nothing more");
        });
        assert_eq!(
            *kept.0.lock().unwrap(),
            [
                "client refused client_id=\"pump 7\" port=*:1883 count=3",
                "client_id: pump 7",
                "port: *:1883",
                "count: 3",
                "nothing more",
            ]
        );
    }
}
