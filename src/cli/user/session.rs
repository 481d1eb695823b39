//! Who does what is asked for: the gateway that is running, else this process.

use std::path::Path;

use fieldgate::admin::client::{ClientFault, ControlClient};
use fieldgate::auth::users::{Actor, UserReply, UserRequest, Users};
use fieldgate::gateway::{LockFault, Offline, OfflineFault};

use crate::cli::Failure;
use crate::cli::backup::failed;
use crate::cli::failure::say;
use crate::cli::folders::RunningArgs;

/// Options that name a gateway, running or not.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SessionArgs {
    #[command(flatten)]
    gateway: RunningArgs,
}

/// A way to the users of a gateway.
pub(in crate::cli) enum Session {
    /// The gateway is running.
    Running(ControlClient),
    /// It is not, and does not start meanwhile.
    Stopped {
        users: Box<Users>,
        _offline: Offline,
    },
}

impl SessionArgs {
    /// To change users; makes the database if there is none.
    pub(in crate::cli) fn open(&self) -> Result<Session, Failure> {
        self.open_if(|_| Ok(()))
    }

    /// The gateway that the options name.
    pub(in crate::cli) fn gateway(&self) -> &RunningArgs {
        &self.gateway
    }

    /// To look at users, for which there has to be a database.
    pub(in crate::cli) fn open_existing(&self) -> Result<Session, Failure> {
        self.open_if(|folder| {
            if Offline::is_there(folder) {
                return Ok(());
            }
            let message = format!(
                "no gateway is running, and there is no database in `{}`",
                folder.display()
            );
            Err(Failure::runtime(anyhow::Error::msg(message))
                .hint("name the state folder of the gateway with `--state-dir`"))
        })
    }

    fn open_if(
        &self,
        check: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<Session, Failure> {
        if let Some(client) = self.gateway.try_connect()? {
            return Ok(Session::Running(client));
        }
        let folder = self.gateway.state_folder();
        check(&folder)?;
        let mut offline = Offline::open(&folder).map_err(locked)?;
        if let Some(complaint) = offline.condition().complaint() {
            say(&format!("warning: {complaint}\n"));
        }
        let users = Users::new(offline.take_users(), offline.jobs());
        Ok(Session::Stopped {
            users: Box::new(users),
            _offline: offline,
        })
    }
}

pub(crate) fn locked(fault: OfflineFault) -> Failure {
    match fault {
        OfflineFault::Lock(fault) => {
            let is_taken = matches!(fault, LockFault::Taken { .. });
            let failure = Failure::runtime(fault);
            if is_taken {
                failure.hint(
                    "its control socket could not be found; name the folder of it with `--runtime-dir`",
                )
            } else {
                failure.hint("run as root, or as the user that the gateway runs as")
            }
        }
        OfflineFault::Store(fault) => failed(fault),
    }
}

impl Session {
    pub(in crate::cli) fn ask(&mut self, request: &UserRequest) -> Result<UserReply, Failure> {
        match self {
            Self::Running(client) => client.user(request).map_err(refused),
            Self::Stopped { users, .. } => {
                let actor = Actor {
                    name: format!("uid {}", nix::unistd::getuid()).into(),
                    peer: "command line".into(),
                };
                users.apply(request, &actor).map_err(|fault| {
                    let hint = fault.hint();
                    let failure = Failure::runtime(fault);
                    match hint {
                        Some(hint) => failure.hint(hint),
                        None => failure,
                    }
                })
            }
        }
    }
}

/// What the gateway says about a request it did not carry out: the sentence, and what to do about it.
pub(crate) fn refused(fault: ClientFault) -> Failure {
    if let ClientFault::Refused(fault) = &fault
        && let Some((sentence, hint)) = fault.message.split_once("; ")
    {
        let sentence = anyhow::Error::msg(sentence.to_owned());
        return Failure::runtime(sentence).hint(hint);
    }
    Failure::runtime(fault)
}
