//! `fieldgate status`: how a running gateway fares.

use fieldgate::admin::{
    AdminState, ClusterReport, DiscoveryReport, EstDoorReport, EstReport, ReloadOutcome,
    ReloadReport, Status, StoreState,
};
use fieldgate::auth::users::rfc3339;
use fieldgate::ca::Role;
use fieldgate::clock;

use super::folders::RunningArgs;
use super::table::{Table, bytes, duration, printable};
use super::{Failure, Output};

/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// Show how a running gateway fares
///
/// Ports with their states and connections, the configuration and its newest reload, rates, queues and whatever needs
/// attention.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    running: RunningArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let status = args.running.connect()?.status().map_err(Failure::runtime)?;
    let mut output = Output::default();
    if args.json {
        output.json(&status)?;
    } else {
        print(&status, clock::wall_seconds(), &mut output);
    }
    output.finish()
}

fn print(status: &Status, now: u64, output: &mut Output) {
    output.line(format!(
        "{} · fieldgate {} · process {} · up {}",
        status.name,
        status.version,
        status.pid,
        duration(status.uptime_seconds)
    ));
    output.line(if status.readiness.ready {
        "ready"
    } else {
        "not ready"
    });
    if let Some(degraded) = &status.readiness.degraded {
        output.line(format!("degraded: {}", printable(degraded)));
    }
    for awaited in &status.readiness.awaiting {
        output.line(format!("awaiting {}", printable(awaited)));
    }
    print_alarms(status, output);
    output.line("");
    print_configuration(status, now, output);
    output.line("");
    print_ports(status, output);
    print_certificates(status, output);
    output.line("");
    print_broker(status, output);
}

fn print_alarms(status: &Status, output: &mut Output) {
    if status.alarms.is_empty() {
        return;
    }
    output.line("");
    output.line("needs attention:");
    for alarm in &status.alarms {
        output.line(format!("  {}: {}", alarm.name, printable(&alarm.text)));
    }
}

fn print_configuration(status: &Status, now: u64, output: &mut Output) {
    let configuration = &status.configuration;
    let sources: Vec<String> = configuration
        .sources
        .iter()
        .map(|source| source.display().to_string())
        .collect();
    let sources = if sources.is_empty() {
        "embedded default".to_owned()
    } else {
        sources.join(", ")
    };
    let age = duration(now.saturating_sub(configuration.loaded_at_seconds));
    output.line(format!(
        "configuration  {} (loaded {age} ago)",
        printable(&sources)
    ));
    for warning in &configuration.warnings {
        output.line(format!("  warning: {}", printable(warning)));
    }
    if let Some(reload) = &configuration.last_reload {
        print_reload(reload, now, output);
    }
    output.line(format!("state          {}", status.state_dir.display()));
    output.line(format!(
        "control        {}",
        status.control_socket.display()
    ));
    let address = status.admin.address.as_deref().unwrap_or_default();
    output.line(match status.admin.state {
        AdminState::Off => "admin          off".to_owned(),
        AdminState::Listening => format!("admin          http://{address}"),
        AdminState::AwaitingAddress => {
            let detail = status.admin.detail.as_deref().unwrap_or_default();
            format!("admin          {address}, awaiting address: {detail}")
        }
    });
    for (what, scheme, door) in [
        ("enrolment", "https", &status.est.https),
        ("root", "http", &status.est.http),
    ] {
        print_door(what, scheme, door, output);
    }
    print_discovery(&status.discovery, output);
    print_cluster(status.cluster.as_ref(), output);
}

/// How the gateway and its cluster get on; what is wrong is among what needs attention.
fn print_cluster(cluster: Option<&ClusterReport>, output: &mut Output) {
    let Some(cluster) = cluster else {
        return;
    };
    let state = if cluster.connected {
        "connected"
    } else {
        "not connected"
    };
    output.line(printable(&format!(
        "cluster        {state}, namespace {}: {} resources in force, {} refused",
        cluster.namespace, cluster.accepted, cluster.refused
    )));
}

/// Under which names the gateway is found, and what keeps it from telling them.
fn print_discovery(links: &[DiscoveryReport], output: &mut Output) {
    for (index, link) in links.iter().enumerate() {
        let what = if index == 0 { "announced" } else { "" };
        let told = match (&link.host, &link.fault) {
            (_, Some(fault)) => format!("not on {}: {fault}", link.interface),
            (Some(host), None) => format!("{host}.local on {}", link.interface),
            (None, None) => format!(
                "not yet on {}: the name is being looked for",
                link.interface
            ),
        };
        output.line(printable(&format!("{what:<14} {told}")));
    }
}

/// Where something is served over the network; not a word where it is off.
fn print_door(what: &str, scheme: &str, door: &EstDoorReport, output: &mut Output) {
    let address = door.address.as_deref().unwrap_or_default();
    let detail = door.detail.as_deref().unwrap_or_default();
    match door.awaited() {
        Some(awaited) => {
            let line = format!("{what:<14} {address}, awaiting {awaited}: {detail}");
            output.line(printable(&line));
        }
        None if door.address.is_some() => {
            output.line(format!("{what:<14} {scheme}://{address}"));
        }
        None => {}
    }
}

fn print_reload(reload: &ReloadReport, now: u64, output: &mut Output) {
    let outcome = match reload.outcome {
        ReloadOutcome::Applied => "applied",
        ReloadOutcome::Unchanged => "nothing changed",
        ReloadOutcome::Refused => "refused, the old configuration stays in force",
    };
    let age = duration(now.saturating_sub(reload.at_seconds));
    output.line(format!("last reload    {outcome} ({age} ago)"));
    for line in reload
        .faults
        .iter()
        .flat_map(|faults| faults.trim_end().lines())
    {
        output.line(format!("  {}", printable(line)));
    }
}

fn print_ports(status: &Status, output: &mut Output) {
    let mut table = Table::new([
        "PORT",
        "LISTENER",
        "PROTOCOL",
        "TLS",
        "STATE",
        "CONNECTIONS",
        "ACCEPTED",
        "REFUSED",
    ]);
    for port in &status.ports {
        let state = match &port.detail {
            Some(detail) => format!("{}: {detail}", port.state),
            None => port.state.clone(),
        };
        table.row([
            port.endpoint.clone(),
            port.listener.clone(),
            port.protocol.clone(),
            if port.tls { "yes" } else { "no" }.to_owned(),
            state,
            port.connections.to_string(),
            port.accepted.to_string(),
            port.refused.values().sum::<u64>().to_string(),
        ]);
    }
    table.print(output);
}

/// Every certificate with the days that are left, those of ports first.
fn print_certificates(status: &Status, output: &mut Output) {
    let mut table = Table::new(["CERTIFICATE", "DAYS", "UNTIL", "RENEWED", "SUBJECT"]);
    let of_ports = status.ports.iter().filter_map(|port| {
        let certificate = port.certificate.as_ref()?;
        Some((port.endpoint.as_str(), certificate))
    });
    let of_est = status.est.certificate.iter();
    let of_est = of_est.map(|certificate| (EstReport::NAME, certificate));
    for (name, certificate) in of_ports.chain(of_est) {
        table.row([
            name.to_owned(),
            certificate.seconds_left.div_euclid(DAY).to_string(),
            rfc3339(certificate.not_after_seconds),
            certificate
                .renewal_seconds
                .map_or("not by itself".to_owned(), rfc3339),
            certificate.subject.clone(),
        ]);
    }
    let authority = status.authority.status.as_ref();
    let next = authority.and_then(|authority| authority.next.as_ref());
    for certificate in authority
        .iter()
        .flat_map(|authority| &authority.certificates)
    {
        let next = next.filter(|_| certificate.is_current && certificate.role == Role::Issuing);
        table.row([
            format!("{} {}", certificate.role.word(), certificate.number),
            certificate.days_left.to_string(),
            rfc3339(certificate.validity.not_after),
            next.map(|next| rfc3339(next.at)).unwrap_or_default(),
            certificate.subject.clone(),
        ]);
    }
    if !table.is_empty() {
        output.line("");
        table.print(output);
    }
}

fn print_store(status: &Status, output: &mut Output) {
    let (broker, store) = (&status.broker, &status.store);
    if store.state == StoreState::Missing {
        output.line("store          none");
        return;
    }
    output.line(format!(
        "store          {} messages, {} of {}; {} on the volume, {} free, {} written in {} commits",
        broker.stored_messages,
        bytes(broker.stored_bytes),
        bytes(broker.stored_bytes_max),
        bytes(store.database_bytes),
        bytes(store.free_bytes),
        bytes(store.bytes_written),
        store.commits
    ));
}

fn print_broker(status: &Status, output: &mut Output) {
    let (broker, rates, process) = (&status.broker, &status.rates, &status.process);
    output.line(format!(
        "clients        {} connected (most {}, bound {}), {} sessions, {} subscriptions",
        broker.connections,
        broker.connections_peak,
        broker.connections_max,
        broker.sessions,
        broker.subscriptions
    ));
    output.line(format!(
        "messages       {:.1}/s in, {:.1}/s out, {:.1}/s dropped over the last minute",
        rates.messages_received, rates.messages_sent, rates.messages_dropped
    ));
    output.line(format!(
        "               {} in, {} out, {} dropped, {} expired since the start",
        broker.messages_received.iter().sum::<u64>(),
        broker.messages_sent.iter().sum::<u64>(),
        broker.messages_dropped,
        broker.messages_expired
    ));
    output.line(format!(
        "queue          {} messages, {} of {}",
        broker.queued_messages,
        bytes(broker.queued_bytes),
        bytes(broker.queued_bytes_max)
    ));
    print_store(status, output);
    output.line(format!(
        "retained       {} messages, {} of {}",
        broker.retained_messages,
        bytes(broker.retained_bytes),
        bytes(broker.retained_bytes_max)
    ));
    output.line(format!(
        "process        {} resident, {:.1} s of processor time, {} of {} descriptors",
        bytes(process.resident_bytes),
        process.cpu_seconds,
        process.descriptors,
        process.descriptors_max
    ));
}
