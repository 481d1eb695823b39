//! `appliance.conf`: lines of `NAME=value`, as the service manager reads them for the units.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes that are read; the file has a few lines.
const LEN_MAX: usize = 64 * 1024;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// `FIELDGATE_RESET_GPIO`: the button that asks for a factory reset when it is held at the start.
    pub reset_line: Option<ResetLine>,
}

/// A line of a GPIO chip, `gpiochip0:17:active_low`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetLine {
    /// The chip: a name in `/dev`, or a path.
    pub chip: PathBuf,
    /// Number of the line on the chip.
    pub line: u32,
    /// Whether the button connects the line to ground. There is a pull-up then.
    pub is_active_low: bool,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfFault {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value makes no sense.
    #[error("`{}`: {name} takes {takes}, not `{value}`", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What is there.
        value: String,
    },
}

impl Conf {
    pub(super) fn read(path: &Path) -> Result<Self, ConfFault> {
        let fault = |source| ConfFault::Io {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(fault)?;
        if text.len() > LEN_MAX {
            return Err(fault(io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&text).map_err(|value| ConfFault::Value {
            path: path.to_owned(),
            name: "FIELDGATE_RESET_GPIO",
            takes: "chip:line:active_low or chip:line:active_high",
            value,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut conf = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            if name.trim() == "FIELDGATE_RESET_GPIO" && !value.is_empty() {
                conf.reset_line = Some(ResetLine::parse(value).ok_or(value)?);
            }
        }
        Ok(conf)
    }
}

impl ResetLine {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (chip, line, level) = (parts.next()?, parts.next()?, parts.next()?);
        if chip.is_empty() || parts.next().is_some() {
            return None;
        }
        Some(Self {
            // An absolute path takes the place of the folder.
            chip: Path::new("/dev").join(chip),
            line: line.parse().ok()?,
            is_active_low: match level {
                "active_low" => true,
                "active_high" => false,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_button_is_read() {
        let text = "# disk\nFIELDGATE_DISK=/dev/mmcblk0\nFIELDGATE_RESET_GPIO=\"gpiochip1:17:active_low\"\n";
        let line = Conf::parse(text).unwrap().reset_line.unwrap();
        assert_eq!(line.chip, Path::new("/dev/gpiochip1"));
        assert_eq!((line.line, line.is_active_low), (17, true));
        assert_eq!(Conf::parse("FIELDGATE_RESET_GPIO=\n"), Ok(Conf::default()));
    }

    #[test]
    fn nonsense_is_a_fault() {
        for value in [
            "17",
            "a:b:active_low",
            "a:1:low",
            ":1:active_low",
            "a:1:active_low:x",
        ] {
            let text = format!("FIELDGATE_RESET_GPIO={value}");
            assert_eq!(Conf::parse(&text), Err(value.to_owned()));
        }
    }
}
