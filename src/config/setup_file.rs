//! The file of `fieldgate setup --from`: the first user, and the port that it comes in by.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Bytes of such a file; a real one has ten lines.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a setup is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupFile {
    /// The first user; none where there is only a port to be opened.
    pub user: Option<SetupUser>,
    /// The port; none where nothing is to be opened.
    pub port: Option<SetupPort>,
}

/// `[user]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupUser {
    /// Its name.
    pub name: String,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Hash of the password, as `fieldgate user export` writes it.
    pub hash: Option<String>,
    /// Whether a password is made and printed once.
    #[serde(default)]
    pub generate: bool,
    /// What rules may ask for.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for SetupUser {
    /// Without the hash: this may end in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `[port]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupPort {
    /// Its number.
    pub port: u16,
    /// The address to accept on; every address where absent.
    pub bind: Option<String>,
    /// Its certificate; plain text where absent.
    pub tls: Option<SetupTls>,
}

/// `tls = "automatic"`, or `tls = { cert = "…", key = "…" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "tls is \"automatic\", or a table with cert and key"
)]
pub enum SetupTls {
    /// The gateway makes the certificate itself.
    Automatic(SetupAutomatic),
    /// It is in files.
    Files(SetupCertificate),
}

/// `{ cert = "…", key = "…" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupCertificate {
    /// PEM file with the certificate.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// The word `automatic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SetupAutomatic {
    /// The word.
    #[serde(rename = "automatic", alias = "Automatic")]
    Automatic,
}

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupFault {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not as it has to be. What is written in it is not repeated: it may be a password.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl SetupFault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Wrong { hint, .. } => Some(hint),
        }
    }
}

const HINT: &str = "a file has [user] with name and one of password_file, hash and generate = true, and [port] with port, bind and tls";

const PASSWORD_HINT: &str =
    "a password does not stand in such a file: write password_file, hash, or generate = true";

impl SetupFile {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, SetupFault> {
        let read = || {
            if fs::metadata(path)?.len() > FILE_BYTES_MAX {
                return Err(io::Error::other("the file is too large"));
            }
            fs::read_to_string(path)
        };
        let text = read().map_err(|source| SetupFault::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SetupFault> {
        let wrong = |line, message: String, hint| SetupFault::Wrong {
            path: path.to_owned(),
            line,
            message,
            hint,
        };
        let file: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let message = error.message();
            let is_password = message.starts_with("unknown field `password`");
            // A message about a value repeats the value.
            let is_of_value = message.starts_with("invalid");
            let message = if is_of_value {
                "a value of this line has the wrong type".to_owned()
            } else {
                message.to_owned()
            };
            wrong(
                line,
                message,
                if is_password { PASSWORD_HINT } else { HINT },
            )
        })?;
        if let Some(user) = &file.user {
            let ways = [
                user.password_file.is_some(),
                user.hash.is_some(),
                user.generate,
            ];
            if ways.iter().filter(|is_given| **is_given).count() != 1 {
                let message = "a user has exactly one of password_file, hash and generate = true";
                return Err(wrong(1, message.to_owned(), PASSWORD_HINT));
            }
        }
        if file.user.is_none() && file.port.is_none() {
            let message = "there is neither [user] nor [port]";
            return Err(wrong(1, message.to_owned(), HINT));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SetupFile, SetupFault> {
        SetupFile::parse(Path::new("setup.toml"), text)
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = parse(
            "[user]\nname = \"press-1\"\npassword_file = \"/p\"\nattributes = { floor = \"1\" }\n\
             [port]\nport = 8883\nbind = \"*\"\ntls = { cert = \"/c\", key = \"/k\" }\n",
        )
        .unwrap();
        let user = file.user.unwrap();
        assert_eq!(user.name, "press-1");
        assert_eq!(user.attributes["floor"], "1");
        let files = SetupTls::Files(SetupCertificate {
            cert: "/c".into(),
            key: "/k".into(),
        });
        assert_eq!(file.port.unwrap().tls, Some(files));
        let file = parse("[port]\nport = 8883\ntls = \"automatic\"\n").unwrap();
        let automatic = SetupTls::Automatic(SetupAutomatic::Automatic);
        assert_eq!(file.port.unwrap().tls, Some(automatic));
        let fault = parse("[port]\nport = 8883\ntls = \"yes\"\n").unwrap_err();
        assert!(fault.to_string().contains("automatic"), "{fault}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_secrets() {
        for (text, line, hint) in [
            (
                "[user]\nname = \"a\"\npassword = \"hunter2\"\n",
                3,
                PASSWORD_HINT,
            ),
            (
                "[user]\nname = \"a\"\nhash = \"hunter2\"\ngenerate = true\n",
                1,
                PASSWORD_HINT,
            ),
            ("[user]\nname = \"a\"\n", 1, PASSWORD_HINT),
            ("[user]\nname = \"a\"\ngenerate = \"hunter2\"\n", 3, HINT),
            ("[user]\nname = \"a\"\nhash = hunter2\n", 3, HINT),
            ("[usr]\n", 1, HINT),
            ("[port]\nport = 99999\n", 2, HINT),
            ("", 1, HINT),
        ] {
            let fault = parse(text).unwrap_err();
            let told = fault.to_string();
            assert!(told.starts_with(&format!("setup.toml:{line}: ")), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
            assert_eq!(fault.hint(), Some(hint), "{told}");
        }
    }
}
