//! The text exposition of Prometheus: families of samples, and the page they make.

use std::fmt::Write;

/// Prefix of every name.
const PREFIX: &str = "fieldgate_";

/// What a family is: its name without the prefix, its kind, its labels and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name without `fieldgate_`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// How the values of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    /// The word of the exposition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A page in the making.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// The samples of one family in the making.
#[derive(Debug)]
pub struct Samples<'a> {
    family: &'a Family,
    text: &'a mut String,
}

impl Page {
    /// Begins a family; its samples follow.
    pub fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        let Family {
            name, kind, help, ..
        } = family;
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {PREFIX}{name} {help}");
        let _ = writeln!(self.text, "# TYPE {PREFIX}{name} {}", kind.as_str());
        Samples {
            family,
            text: &mut self.text,
        }
    }

    /// The whole page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// Adds a sample; `labels` are the values of the labels of the family, in their order.
    pub fn add(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(
            labels.len(),
            self.family.labels.len(),
            "{}",
            self.family.name
        );
        self.text.push_str(PREFIX);
        self.text.push_str(self.family.name);
        if !labels.is_empty() {
            self.text.push('{');
            for (index, (name, value)) in self.family.labels.iter().zip(labels).enumerate() {
                if index > 0 {
                    self.text.push(',');
                }
                let _ = write!(self.text, "{name}=\"{}\"", escaped(value));
            }
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Adds a whole number.
    pub fn add_count(&mut self, labels: &[&str], value: u64) {
        // Exact up to 2^53, as everything that Prometheus stores.
        self.add(labels, value as f64);
    }
}

/// The manual of the families, in Markdown.
#[must_use]
pub fn manual<'a>(families: impl IntoIterator<Item = &'a Family>) -> String {
    let mut text = "\
# Metrics

`GET /metrics` on the admin address (`127.0.0.1:9600` unless `[admin]` says otherwise) answers in the text format of Prometheus.
Counters begin at zero when the process starts.

| name | kind | labels | meaning |
|---|---|---|---|
"
    .to_owned();
    for Family {
        name,
        kind,
        labels,
        help,
    } in families
    {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        let _ = writeln!(text, "| `{PREFIX}{name}` | {kind} | {labels} | {help} |");
    }
    text
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: Family = Family {
        name: "x",
        kind: Kind::Gauge,
        labels: &["a", "b"],
        help: "An example.",
    };

    #[test]
    fn page_has_the_form_of_the_exposition() {
        let mut page = Page::default();
        let mut samples = page.family(&FAMILY);
        samples.add_count(&["1", "q\"\\\n"], 7);
        samples.add(&["", ""], 0.5);
        assert_eq!(
            page.finish(),
            "# HELP fieldgate_x An example.\n# TYPE fieldgate_x gauge\n\
             fieldgate_x{a=\"1\",b=\"q\\\"\\\\\\n\"} 7\nfieldgate_x{a=\"\",b=\"\"} 0.5\n"
        );
    }

    #[test]
    fn manual_has_a_row_for_each_family() {
        assert!(
            manual([&FAMILY]).ends_with("| `fieldgate_x` | gauge | `a`, `b` | An example. |\n")
        );
    }
}
