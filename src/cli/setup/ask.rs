//! The questions of a setup.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use fieldgate::auth::users::{Attributes, check_username};
use fieldgate::config::{SetupAutomatic, SetupCertificate, SetupPort, SetupTls};

use super::file::Target;
use super::{Password, Plan, PlannedUser, ask_password, shown};
use crate::cli::{Exit, Failure};

/// Times that a question is asked again after an answer that is none.
const TRIES_MAX: usize = 5;

/// Asks on the terminal what is to be made.
pub(super) fn plan(users: &[Box<str>], target: &Target) -> Result<Plan, Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "error: there is no terminal to ask on";
        return Err(Failure::rendered(Exit::Usage, text)
            .hint("write the answers into a file and name it with `--from FILE`"));
    }
    let mut questions = Questions {
        input: std::io::stdin().lock(),
        output: std::io::stderr(),
    };
    questions.plan(users, target, ask_password)
}

struct Questions<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> Questions<R, W> {
    fn plan(
        &mut self,
        users: &[Box<str>],
        target: &Target,
        password: impl FnOnce() -> Result<Password, Failure>,
    ) -> Result<Plan, Failure> {
        if !users.is_empty() {
            self.say(&format!(
                "{} users are there already. An empty name makes no other one.",
                users.len()
            ))?;
        }
        let name = self.ask("Name of the user: ", |name| {
            if name.is_empty() && !users.is_empty() {
                return Ok(None);
            }
            check_username(name)
                .map(|()| Some(name.to_owned()))
                .map_err(|fault| fault.to_string())
        })?;
        let is_new = |name: &String| !users.iter().any(|known| **known == **name);
        let user = match name.filter(is_new) {
            None => None,
            Some(name) => {
                self.say("Its password; leave it empty to have one made that nobody can guess.")?;
                Some(PlannedUser {
                    name,
                    attributes: Attributes::new(),
                    password: password()?,
                })
            }
        };
        let port = if target.is_there() {
            let path = shown(target.path());
            self.say(&format!("A port was set up before: {path}"))?;
            None
        } else {
            self.port()?
        };
        Ok(Plan { user, port })
    }

    fn port(&mut self) -> Result<Option<SetupPort>, Failure> {
        let is_wanted = self.ask(
            "Open a port to the network for users with a password? [y/N] ",
            yes_or_no,
        )?;
        if !is_wanted {
            return Ok(None);
        }
        let path = |text: &str| match text {
            text if text.starts_with('/') => Ok(PathBuf::from(text)),
            _ => Err("a path begins with /".to_owned()),
        };
        self.say("Certificate of the port: empty has the gateway make one and renew it; or a PEM file; or")?;
        let cert = self.ask(
            "none, with which passwords travel in clear text: ",
            |text| match text.to_lowercase().as_str() {
                "" | "automatic" => Ok(Some(None)),
                "none" | "-" => Ok(None),
                _ => path(text).map(|cert| Some(Some(cert))),
            },
        )?;
        let tls = match cert {
            None => None,
            Some(None) => Some(SetupTls::Automatic(SetupAutomatic::Automatic)),
            Some(Some(cert)) => {
                let key = self.ask("PEM file with its key: ", path)?;
                Some(SetupTls::Files(SetupCertificate { cert, key }))
            }
        };
        let usual = if tls.is_some() { 8883 } else { 1883 };
        let port = self.ask(&format!("Port number [{usual}]: "), |text| match text {
            "" => Ok(usual),
            text => match text.parse() {
                Ok(0) | Err(_) => Err("a port number is 1 to 65535".to_owned()),
                Ok(port) => Ok(port),
            },
        })?;
        Ok(Some(SetupPort {
            port,
            bind: None,
            tls,
        }))
    }

    /// Asks until the answer is one.
    fn ask<T>(
        &mut self,
        question: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        for _ in 0..TRIES_MAX {
            write!(self.output, "{question}").map_err(unasked)?;
            self.output.flush().map_err(unasked)?;
            let mut line = String::new();
            if self.input.read_line(&mut line).map_err(unasked)? == 0 {
                break;
            }
            match parse(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(why) => self.say(&why)?,
            }
        }
        let error = anyhow::Error::msg("the question was not answered");
        Err(Failure::runtime(error).hint("nothing was changed"))
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.output, "{text}").map_err(unasked)
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "" | "n" | "no" => Ok(false),
        _ => Err("answer y or n".to_owned()),
    }
}

fn unasked(error: std::io::Error) -> Failure {
    Failure::runtime(anyhow::Error::new(error).context("cannot ask on the terminal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(users: &[&str], answers: &str) -> (Result<Plan, Failure>, String) {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(&folder.path().join("gateway.toml")).unwrap();
        let users: Vec<Box<str>> = users.iter().map(|user| (*user).into()).collect();
        let mut said = Vec::new();
        let mut questions = Questions {
            input: answers.as_bytes(),
            output: &mut said,
        };
        let plan = questions.plan(&users, &target, || Ok(Password::Made));
        (plan, String::from_utf8(said).unwrap())
    }

    #[test]
    fn answers_become_a_plan() {
        let (plan, _) = asked(&[], "press-1\ny\n/c.pem\n/k.pem\n\n");
        let plan = plan.ok().unwrap();
        assert_eq!(plan.user.unwrap().name, "press-1");
        let port = plan.port.unwrap();
        assert_eq!(port.port, 8883);
        let files = SetupTls::Files(SetupCertificate {
            cert: "/c.pem".into(),
            key: "/k.pem".into(),
        });
        assert_eq!(port.tls, Some(files));
        let (plan, _) = asked(&[], "press-1\ny\n\n\n");
        let port = plan.ok().unwrap().port.unwrap();
        let automatic = SetupTls::Automatic(SetupAutomatic::Automatic);
        assert_eq!((port.port, port.tls), (8883, Some(automatic)));
        let (plan, said) = asked(&[], "\n\u{7}\npress-1\nmaybe\ny\nrelative\nnone\n0\n1884\n");
        let port = plan.ok().unwrap().port.unwrap();
        assert_eq!((port.port, port.tls), (1884, None));
        assert!(said.contains("the name is empty"), "{said}");
        assert!(said.contains("answer y or n"), "{said}");
        assert!(said.contains("a path begins with /"), "{said}");
    }

    #[test]
    fn nothing_is_opened_by_default_and_users_that_are_there_stay() {
        let (plan, said) = asked(&["press-1"], "\n\n");
        let plan = plan.ok().unwrap();
        assert!(plan.user.is_none() && plan.port.is_none());
        assert!(said.contains("1 users are there already"), "{said}");
        let (plan, _) = asked(&["press-1"], "press-1\nn\n");
        assert!(plan.ok().unwrap().user.is_none());
    }

    #[test]
    fn a_setup_without_answers_ends() {
        assert!(asked(&[], "").0.is_err());
        assert!(asked(&[], "\n\n\n\n\n\n\n").0.is_err());
    }
}
