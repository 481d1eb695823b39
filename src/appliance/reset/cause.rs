//! What asks for a factory reset.

use std::collections::BTreeSet;

/// The argument on the command line of the kernel.
const ARGUMENT: &str = "fieldgate.factory-reset";

/// One way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// `fieldgate factory-reset`
    Command,
    /// A file on the boot partition.
    BootFile,
    /// An argument of the boot loader.
    CommandLine,
    /// A button that was held.
    Button,
}

/// Several of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Causes(BTreeSet<Cause>);

impl Cause {
    const ALL: [Self; 4] = [
        Self::Command,
        Self::BootFile,
        Self::CommandLine,
        Self::Button,
    ];

    /// As it stands in the marker.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::BootFile => "boot-file",
            Self::CommandLine => "command-line",
            Self::Button => "button",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }

    /// For people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Command => "the command of an operator",
            Self::BootFile => "the file factory-reset on the boot partition",
            Self::CommandLine => "the argument fieldgate.factory-reset of the boot loader",
            Self::Button => "the reset button",
        }
    }
}

impl Causes {
    pub(super) fn add(&mut self, cause: Cause) {
        self.0.insert(cause);
    }

    pub(super) fn remove(&mut self, cause: Cause) {
        self.0.remove(&cause);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one that no reset was made for.
    pub(super) fn first_new(&self, done: &Self) -> Option<Cause> {
        self.0.difference(&done.0).next().copied()
    }

    /// Those of `done` that are still there.
    pub(super) fn kept(&self, done: &Self) -> Self {
        Self(self.0.intersection(&done.0).copied().collect())
    }

    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Cause::from_word).collect())
    }

    pub(super) fn render(&self) -> String {
        self.0
            .iter()
            .map(|cause| cause.word().to_owned() + "\n")
            .collect()
    }
}

/// Whether the boot loader asks: the argument alone, or with a value that is no "no".
pub(super) fn is_on_command_line(line: &str) -> bool {
    line.split_ascii_whitespace().any(|argument| {
        let (name, value) = argument.split_once('=').unwrap_or((argument, "1"));
        name == ARGUMENT && !matches!(value, "0" | "no" | "off" | "false")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_is_found() {
        for line in [
            "fieldgate.factory-reset",
            "quiet fieldgate.factory-reset=1 ro\n",
        ] {
            assert!(is_on_command_line(line), "{line}");
        }
        for line in [
            "",
            "fieldgate.factory-reset=0",
            "xfieldgate.factory-reset",
            "fieldgate.factory-resets",
        ] {
            assert!(!is_on_command_line(line), "{line}");
        }
    }

    #[test]
    fn causes_come_back_from_their_words() {
        let mut causes = Causes::default();
        for cause in Cause::ALL {
            causes.add(cause);
        }
        assert_eq!(Causes::parse(&causes.render()), causes);
        assert_eq!(
            Causes::parse("nonsense\nbutton\n").first_new(&Causes::default()),
            Some(Cause::Button)
        );
    }
}
