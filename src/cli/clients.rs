//! `fieldgate clients`: who has a session.

use fieldgate::admin::ClientReport;

use super::folders::RunningArgs;
use super::table::{Table, bytes, duration};
use super::{Failure, Output};

/// List the clients of a running gateway, connected or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only clients whose identifier begins with this
    #[arg(default_value = "")]
    prefix: String,

    #[command(flatten)]
    running: RunningArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let clients = args
        .running
        .connect()?
        .clients(&args.prefix)
        .map_err(Failure::runtime)?;
    let mut output = Output::default();
    if args.json {
        output.json(&clients)?;
    } else {
        print(&clients, &mut output);
    }
    output.finish()
}

fn print(clients: &[ClientReport], output: &mut Output) {
    let mut table = Table::new([
        "CLIENT",
        "PRINCIPAL",
        "ADDRESS",
        "PORT",
        "MQTT",
        "CONNECTED",
        "SUBSCRIPTIONS",
        "INFLIGHT",
        "QUEUED",
        "QUEUED BYTES",
        "DROPPED",
    ]);
    for client in clients {
        let connection = client.connection.as_ref();
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            client.client_id.clone(),
            shown(Some(client.principal.clone()).filter(|name| !name.is_empty())),
            shown(connection.map(|connection| connection.address.clone())),
            client.port.clone(),
            shown(connection.map(|connection| connection.protocol_version.clone())),
            shown(connection.map(|connection| duration(connection.connected_seconds))),
            client.subscriptions.to_string(),
            client.inflight_messages.to_string(),
            client.queued_messages.to_string(),
            bytes(client.queued_bytes),
            client.dropped_messages.to_string(),
        ]);
    }
    table.print(output);
}
