//! `fieldgate authz`: what the rules of a port say about a client.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ValueEnum;
use fieldgate::admin::{ExplainInput, ExplainReport, ExplainedAction};
use fieldgate::config::{self, Authorization, Endpoint, PortSettings, Settings};
use fieldgate::gateway::{CONFIG_FILE, find_config};
use fieldgate::policy::{CompiledRules, Explanation, Principal, Rights};

use super::config_file::ConfigArgs;
use super::folders::RunningArgs;
use super::table::printable;
use super::{Exit, Failure, Output};

/// Ask the rules about a client
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say whether a client may do something, and which rule says so
    ///
    /// The rules are those of the configuration file, and the client is described by options; nothing has to run for that.
    /// With `--live` it is a client of a running gateway, with the identity and the rules that it has there.
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// What the client wants to do
    #[arg(value_enum)]
    action: Wanted,

    /// Topic name, or topic filter for `subscribe`; not for `connect`
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,

    #[command(flatten)]
    config: ConfigArgs,

    /// Port that the client comes by: its number, or its name as `fieldgate check` shows it
    ///
    /// Not needed where there is only one.
    #[arg(long, value_name = "PORT")]
    port: Option<String>,

    /// User name of the client, as its authentication gives it
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    user: String,

    /// Client identifier
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    client_id: String,

    /// Attribute of the client; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// Ask about this client of a running gateway instead
    #[arg(
        long,
        value_name = "CLIENT_ID",
        conflicts_with_all = ["port", "user", "client_id", "attributes", "config"]
    )]
    live: Option<String>,

    #[command(flatten)]
    running: RunningArgs,

    /// QoS of the message to publish
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,

    /// The message to publish is to be retained
    #[arg(long)]
    retain: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    /// To connect with the client identifier
    Connect,
    /// To publish to a topic
    Publish,
    /// To subscribe to a topic filter
    Subscribe,
    /// To get a message of a topic
    Read,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an attribute is written NAME=VALUE".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let What::Explain(args) = &args.what;
    let input = ExplainInput {
        client_id: args.live.as_ref().unwrap_or(&args.client_id).clone(),
        action: match args.action {
            Wanted::Connect => ExplainedAction::Connect,
            Wanted::Publish => ExplainedAction::Publish,
            Wanted::Subscribe => ExplainedAction::Subscribe,
            Wanted::Read => ExplainedAction::Read,
        },
        topic: args.topic.clone(),
        qos: args.qos,
        retain: args.retain,
    };
    if let Err(fault) = input.action() {
        let topic = printable(&input.topic);
        return Err(usage(format!("`{topic}` cannot be asked about: {fault}")));
    }
    let reports = match &args.live {
        Some(client_id) => live(args, client_id, &input)?,
        None => vec![offline(args, &input)?],
    };
    let mut output = Output::default();
    if args.json {
        output.json(&reports)?;
    } else {
        for report in &reports {
            print(report, &mut output);
        }
    }
    output.finish()
}

fn live(
    args: &ExplainArgs,
    client_id: &str,
    input: &ExplainInput,
) -> Result<Vec<ExplainReport>, Failure> {
    let mut gateway = args.running.connect()?;
    let reports = gateway.explain(input).map_err(Failure::runtime)?;
    if reports.is_empty() {
        let client_id = printable(client_id);
        let message = format!("no client `{client_id}` has connected since the gateway started");
        return Err(Failure::runtime(anyhow::Error::msg(message))
            .hint("`fieldgate clients` lists those that have"));
    }
    Ok(reports)
}

fn offline(args: &ExplainArgs, input: &ExplainInput) -> Result<ExplainReport, Failure> {
    let main = find_config(args.config.file());
    let loaded = config::load(main.as_deref()).map_err(|report| {
        let file = main.as_ref().map(|file| file.display().to_string());
        let file = printable(&file.unwrap_or_else(|| CONFIG_FILE.to_owned()));
        Failure::rendered(
            Exit::Config,
            format!(
                "error: the configuration `{file}` has {} faults",
                report.faults.len()
            ),
        )
        .hint("`fieldgate check` shows them")
    })?;
    let port = find_port(&loaded.settings, args.port.as_deref())?;
    let attributes = args.attributes.iter();
    let principal = Arc::new(Principal {
        username: args.user.as_str().into(),
        attributes: attributes
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect::<BTreeMap<_, _>>(),
        is_superuser: false,
    });
    let action = input.action().map_err(usage)?;
    let explanation = match &port.authorization {
        Authorization::None => Explanation::without_rules(action),
        Authorization::Named(named) => {
            let rules = Arc::new(CompiledRules::new(&named.rules));
            Rights::new(&rules, &principal, &input.client_id).explain(action)
        }
    };
    Ok(input.report(&port.endpoint.to_string(), &args.user, explanation))
}

/// The port of this number or name.
fn find_port<'a>(
    settings: &'a Settings,
    wanted: Option<&str>,
) -> Result<&'a PortSettings, Failure> {
    let is_wanted = |port: &&PortSettings| match wanted {
        None => true,
        Some(wanted) if port.endpoint.to_string() == wanted => true,
        Some(wanted) => match &port.endpoint {
            Endpoint::Tcp { port, .. } => wanted.parse() == Ok(*port),
            _ => false,
        },
    };
    let found: Vec<&PortSettings> = settings.ports().filter(is_wanted).collect();
    if let [port] = found.as_slice() {
        return Ok(port);
    }
    let problem = match (wanted, found.is_empty()) {
        (Some(wanted), true) => format!("there is no port `{}`", printable(wanted)),
        (Some(wanted), false) => format!("`{}` is the number of several ports", printable(wanted)),
        (None, _) => "there are several ports".to_owned(),
    };
    let listed = if found.is_empty() || wanted.is_none() {
        settings.ports().collect()
    } else {
        found
    };
    let names: Vec<String> = listed
        .iter()
        .map(|port| port.endpoint.to_string())
        .collect();
    Err(usage(problem).hint(format!("name one with `--port`: {}", names.join(", "))))
}

fn usage(problem: String) -> Failure {
    Failure::rendered(Exit::Usage, format!("error: {problem}"))
}

fn print(report: &ExplainReport, output: &mut Output) {
    let mut decision = report.decision.clone();
    if let Some(qos) = report.granted_qos {
        decision.push_str(&format!(" with QoS {qos} at most"));
    }
    if report.narrowed {
        decision.push_str(", and narrowed to what the client may read");
    }
    let by = match &report.rule {
        Some(place) => format!("the rule at {}", printable(place)),
        None => report.by.clone(),
    };
    output.line(format!("{decision}: {by}"));
    let mut line = |label: &str, text: &str| {
        if !text.is_empty() {
            output.line(format!("  {label:<10} {}", printable(text)));
        }
    };
    line("port", &report.port);
    line("principal", &report.principal);
    line("client", &report.client_id);
    line("pattern", report.pattern.as_deref().unwrap_or_default());
    if report.filled != report.pattern {
        line("filled", report.filled.as_deref().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_number_and_by_name() {
        let settings = Settings::default();
        let name = settings.ports().next().unwrap().endpoint.to_string();
        assert!(find_port(&settings, None).is_ok());
        assert!(find_port(&settings, Some(&name)).is_ok());
        assert!(find_port(&settings, Some("1883")).is_ok());
        assert!(find_port(&settings, Some("1884")).is_err());
    }

    #[test]
    fn an_attribute_has_a_name_and_a_value() {
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(attribute("a").is_err() && attribute("=a").is_err());
    }
}
