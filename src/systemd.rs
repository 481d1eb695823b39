//! The only module that talks to the service manager. Without one (`NOTIFY_SOCKET` is not set) nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

/// Time that anybody waits for a manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// One message is on its way at a time, so that a manager that does not read costs one thread.
static SENDING: Semaphore = Semaphore::const_new(1);

/// Tells the service manager how the process fares.
#[derive(Clone, Copy, Debug)]
pub struct Notifier {
    present: bool,
}

impl Notifier {
    /// The service manager that started this process, if one did.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            present: std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty()),
        }
    }

    /// The start is not finished, and may take as long as `time` from now, whatever the unit says.
    pub async fn starting(&self, status: &str, time: Duration) {
        let extend = extension(time);
        self.send(format!("{extend}\nSTATUS={}", one_line(status)))
            .await;
    }

    /// Everything that was asked for is up or in a defined waiting state. Also ends a reload.
    pub async fn ready(&self, status: &str) {
        self.send(format!("READY=1\nSTATUS={}", one_line(status)))
            .await;
    }

    /// A reload begins; [`Notifier::ready`] must follow.
    pub async fn reloading(&self) {
        // The manager compares this time with that of its own request, so it is taken here and not when the message is sent.
        let message = match NotifyState::monotonic_usec_now() {
            Ok(now) => format!("RELOADING=1\n{now}"),
            Err(_) => "RELOADING=1".to_owned(),
        };
        self.send(message).await;
    }

    /// The process is on its way out, which may take as long as `time`, whatever the unit says.
    pub async fn stopping(&self, status: &str, time: Duration) {
        let extend = extension(time);
        self.send(format!("STOPPING=1\n{extend}\nSTATUS={}", one_line(status)))
            .await;
    }

    /// One line for `systemctl status`.
    pub async fn status(&self, status: &str) {
        self.send(format!("STATUS={}", one_line(status))).await;
    }

    /// The process is alive. Call only after the broker core answered.
    pub async fn watchdog(&self) {
        self.send("WATCHDOG=1".to_owned()).await;
    }

    /// How often [`Notifier::watchdog`] must be called: half the time after which the manager kills.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        if !self.present {
            return None;
        }
        sd_notify::watchdog_enabled()
            .filter(|time| !time.is_zero())
            .map(|time| time / 2)
    }

    /// Sends on a thread of its own: the socket of a manager that does not read would block, and with it every client. What
    /// such a manager is not told in time it is not told at all.
    async fn send(&self, message: String) {
        if !self.present {
            return;
        }
        let sent = async {
            let turn = SENDING.acquire().await;
            let send = move || {
                let _turn = turn;
                sd_notify::notify(&[NotifyState::Custom(&message)])
            };
            spawn_blocking(send).await
        };
        match timeout(SEND_TIMEOUT, sent).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the service manager does not take notifications"),
            Ok(Err(error)) => warn!(%error, "a notification of the service manager was not sent"),
            Err(_) => warn!("the service manager does not read what it is told"),
        }
    }
}

fn extension(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// A line end would begin another assignment.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_cannot_smuggle_an_assignment() {
        assert_eq!(one_line("a\nSTOPPING=1\r\n b"), "a STOPPING=1 b");
    }
}
