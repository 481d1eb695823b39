//! `fieldgate console`: what somebody sees who stands before the machine.

use fieldgate::admin::Status;
use fieldgate::auth::users::{UserReply, UserRequest};
use fieldgate::ca::{CaReply, CaRequest};
use fieldgate::config::GatewayName;
use fieldgate::gateway::{BOOT_IMPORT, BootImport};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::boot;
use super::ca::export::qr;
use super::folders::RunningArgs;
use super::table::printable;
use super::{Failure, Output};

/// Lines of anything that can be long.
const LINES_MAX: usize = 12;

/// Print what the console of the machine shows before anybody logs in
///
/// Name, addresses, open ports, the fingerprint of the root, what is wrong, and what to do next. It tells nothing that the
/// network does not tell. The service fieldgate-console keeps it up to date above the login of every console.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Width and height of the console; the root is shown as a QR code where there is room for it
    #[arg(long, num_args = 2, value_names = ["COLUMNS", "ROWS"])]
    size: Option<Vec<usize>>,

    /// Escape what the login program would read as something else
    #[arg(long)]
    issue: bool,

    #[command(flatten)]
    running: RunningArgs,
}

/// What is known of a gateway.
#[derive(Default)]
struct Known {
    status: Option<Status>,
    users: Option<u64>,
    root: Option<Root>,
}

struct Root {
    fingerprint: String,
    text: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let known = ask(&args.running);
    let etc = boot::etc_dir();
    let errors = BootImport::last_errors(&etc).unwrap_or_else(|error| {
        Some(format!(
            "error: it is not known whether files on the boot partition were refused: {error}\n"
        ))
    });
    let mut lines = lines(&known, &addresses(), errors.as_deref());
    if let Some([columns, rows]) = args.size.as_deref()
        && let Some(code) = known.root.as_ref().and_then(|root| qr(&root.text))
    {
        let (wide, high) = measure(&code);
        // The login itself wants some lines as well.
        if wide <= *columns && high + lines.len() + 4 <= *rows {
            lines.push("The root, for a camera:".to_owned());
            lines.extend(code.lines().map(str::to_owned));
        }
    }
    let mut output = Output::default();
    for line in lines {
        output.line(match args.issue {
            true => line.replace('\\', "\\\\"),
            false => line,
        });
    }
    output.finish()
}

fn measure(code: &str) -> (usize, usize) {
    let wide = code.lines().map(|line| line.chars().count()).max();
    (wide.unwrap_or_default(), code.lines().count())
}

/// Everything that the gateway tells; what it does not tell is missing.
fn ask(running: &RunningArgs) -> Known {
    let Ok(Some(mut client)) = running.try_connect() else {
        return Known::default();
    };
    let users = match client.user(&UserRequest::List {}) {
        Ok(UserReply::Users(users)) => u64::try_from(users.len()).ok(),
        _ => None,
    };
    let fingerprint = match client.ca(&CaRequest::Status {}) {
        Ok(CaReply::Status(status)) => {
            let mut roots = status.certificates.into_iter();
            roots.next().map(|root| root.fingerprint)
        }
        _ => None,
    };
    let text = match client.ca(&CaRequest::Trust {}) {
        Ok(CaReply::Text(text)) => Some(text),
        _ => None,
    };
    Known {
        status: client.status().ok(),
        users,
        root: fingerprint
            .zip(text)
            .map(|(fingerprint, text)| Root { fingerprint, text }),
    }
}

fn lines(known: &Known, addresses: &[(String, String)], errors: Option<&str>) -> Vec<String> {
    let version = env!("CARGO_PKG_VERSION");
    let machine = GatewayName::of_this_machine();
    let short = machine.as_str().split('.').next().unwrap_or_default();
    let mut lines = vec![
        format!("Fieldgate {version} on {short}.local"),
        String::new(),
    ];
    for (at, (interface, address)) in addresses.iter().take(LINES_MAX).enumerate() {
        let title = if at == 0 { "Addresses" } else { "" };
        lines.push(format!("{title:<12}{address}  ({interface})"));
    }
    if addresses.is_empty() {
        lines.push("Addresses   none: is the cable plugged in?".to_owned());
    }
    let Some(status) = &known.status else {
        lines.push("Gateway     not running, or it does not answer: `fieldgate check` says whether the configuration is right".to_owned());
        add_errors(&mut lines, errors);
        return lines;
    };
    for (at, port) in status.ports.iter().take(LINES_MAX).enumerate() {
        let title = if at == 0 { "Ports" } else { "" };
        let tls = if port.tls { " in TLS" } else { "" };
        let (endpoint, protocol, state) = (&port.endpoint, &port.protocol, &port.state);
        lines.push(printable(&format!(
            "{title:<12}{endpoint}  {protocol}{tls}, {state}"
        )));
    }
    if let Some(root) = &known.root {
        lines.push(format!("Root        SHA-256 {}", root.fingerprint));
    }
    // What is wrong with files of the boot partition is shown whole below.
    let alarms = status.alarms.iter().filter(|it| it.name != BOOT_IMPORT);
    for alarm in alarms.take(LINES_MAX) {
        lines.push(printable(&format!("Warning     {}", alarm.text)));
    }
    if known.users == Some(0) {
        lines.push(String::new());
        lines.push("There is no user yet. Put the files `gateway.toml` and `users` into the folder `fieldgate` of the boot partition, on any".to_owned());
        lines.push("computer, and start again. Where somebody can log in, `fieldgate setup` does the same.".to_owned());
    }
    add_errors(&mut lines, errors);
    lines
}

fn add_errors(lines: &mut Vec<String>, errors: Option<&str>) {
    let Some(errors) = errors else { return };
    lines.push(String::new());
    lines.push(
        "The files on the boot partition, which also has this text as fieldgate/errors.txt:"
            .to_owned(),
    );
    let told = errors.lines().filter(|line| !line.trim().is_empty());
    lines.extend(
        told.clone()
            .take(LINES_MAX)
            .map(|line| format!("  {}", printable(line))),
    );
    if told.count() > LINES_MAX {
        lines.push("  ...".to_owned());
    }
    lines.push(String::new());
}

/// Addresses that others can use, with their interfaces.
fn addresses() -> Vec<(String, String)> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for one in all {
        let is_used = one.flags.contains(InterfaceFlags::IFF_UP)
            && !one.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let Some(address) = one.address.filter(|_| is_used) else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            found.push((one.interface_name, v4.ip().to_string()));
        } else if let Some(v6) = address.as_sockaddr_in6()
            && !v6.ip().is_unicast_link_local()
        {
            found.push((one.interface_name, v6.ip().to_string()));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Vec<(String, String)> {
        vec![("eth0".to_owned(), "192.0.2.7".to_owned())]
    }

    #[test]
    fn machine_whose_gateway_does_not_run_says_so() {
        let text = lines(&Known::default(), &here(), None).join("\n");
        assert!(text.contains("192.0.2.7  (eth0)"), "{text}");
        assert!(text.contains("not running"), "{text}");
        let text = lines(&Known::default(), &[], None).join("\n");
        assert!(text.contains("is the cable plugged in?"), "{text}");
    }

    #[test]
    fn faults_of_the_boot_partition_are_shown_and_bounded() {
        let errors: String = (0..50)
            .map(|at| format!("error: \u{1b}[31m{at}\n\n"))
            .collect();
        let lines = lines(&Known::default(), &here(), Some(&errors));
        assert!(lines.iter().any(|line| line.trim() == "..."));
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
        assert!(lines.len() < 24, "{}", lines.len());
    }
}
