//! Where a password comes from: never from the command line, which everybody on the machine can read.

use std::io::{IsTerminal, Read};

use fieldgate::auth::users::{PASSWORD_LEN_MIN, Secret, SecretFault};
use zeroize::Zeroizing;

use crate::cli::{Exit, Failure};

/// Bytes that are read from stdin: more than a password has.
const STDIN_BYTES_MAX: u64 = 70_000;

/// Options that say where a password comes from.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PasswordArgs {
    /// Read the password from standard input, up to its end; one line end there is no part of it
    ///
    /// Without this option the password is asked for on the terminal, twice.
    #[arg(long, conflicts_with = "generate")]
    stdin: bool,

    /// Make a password that nobody can guess, and print it
    #[arg(long)]
    generate: bool,

    /// Take a password that has less than 8 bytes
    #[arg(long, conflicts_with = "generate")]
    allow_short: bool,
}

/// A password and where it came from.
pub(in crate::cli) struct Given {
    secret: Secret,
    is_generated: bool,
}

impl Given {
    pub(in crate::cli) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The line to print, if it was made here and nobody knows it yet.
    pub(in crate::cli) fn generated(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.is_generated.then(|| {
            let password = self.secret.expose();
            let mut line = Zeroizing::new(Vec::with_capacity(password.len() + 1));
            line.extend_from_slice(password);
            line.push(b'\n');
            line
        })
    }
}

impl PasswordArgs {
    pub(in crate::cli) fn get(&self) -> Result<Given, Failure> {
        if self.generate {
            return Ok(Given {
                secret: Secret::generate().map_err(Failure::runtime)?,
                is_generated: true,
            });
        }
        let secret = if self.stdin { read()? } else { prompt()? };
        secret.check(self.allow_short).map_err(weak)?;
        Ok(Given {
            secret,
            is_generated: false,
        })
    }
}

pub(in crate::cli) fn weak(fault: SecretFault) -> Failure {
    let failure = Failure::runtime(fault);
    match fault {
        SecretFault::Short => failure.hint(format!(
            "give at least {PASSWORD_LEN_MIN} bytes, have one made with `--generate`, or insist with `--allow-short`"
        )),
        SecretFault::Empty | SecretFault::Long => failure,
    }
}

fn read() -> Result<Secret, Failure> {
    // Never grows, so that no copy of it is left anywhere.
    let mut bytes = Zeroizing::new(Vec::with_capacity(STDIN_BYTES_MAX as usize + 64));
    let stdin = std::io::stdin().lock();
    stdin
        .take(STDIN_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Failure::runtime(anyhow::Error::new(error).context("cannot read standard input"))
        })?;
    let password = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(Secret::copy(
        password.strip_suffix(b"\r").unwrap_or(password),
    ))
}

/// Asks on the terminal, twice, without showing what is typed.
pub(in crate::cli) fn prompt() -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        let message = "there is no terminal to ask for the password on\n";
        return Err(Failure::rendered(Exit::Usage, format!("error: {message}"))
            .hint("pass it with `--stdin`, or have one made with `--generate`"));
    }
    let ask = |question: &str| {
        let asked = rpassword::prompt_password(question).map(Zeroizing::new);
        asked.map_err(|error| {
            Failure::runtime(anyhow::Error::new(error).context("cannot ask for the password"))
        })
    };
    let password = ask("Password: ")?;
    let again = ask("Again: ")?;
    if *password != *again {
        return Err(Failure::runtime(anyhow::Error::msg(
            "the two passwords differ",
        )));
    }
    Ok(Secret::copy(password.as_bytes()))
}
