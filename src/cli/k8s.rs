//! `fieldgate k8s`: the gateway as the broker of a cluster.

use std::fs;

use fieldgate::config::{DEFAULT_TEXT, Loaded};
use fieldgate::kubernetes::{self, ConfigFile, Issuer, RenderOptions};

use super::config_file::ConfigArgs;
use super::failure::say;
use super::table::printable;
use super::{Exit, Failure, Output};

/// Run the gateway in a Kubernetes cluster
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Render(RenderArgs),
    /// Print the definitions of the resources that the controller watches
    ///
    /// They are applied once for a cluster, before any resource. docs/kubernetes.md explains the rest.
    Crds,
}

/// Print the resources for a cluster that runs this configuration
///
/// The configuration is the one of a device and stays as it is. Certificates, keys and other files that it names come from
/// Secrets and ConfigMaps; which these are is printed to standard error. docs/kubernetes.md explains the rest.
#[derive(Debug, clap::Args)]
struct RenderArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Image with this program
    #[arg(long, value_name = "IMAGE", default_value = concat!("localhost/fieldgate:", env!("CARGO_PKG_VERSION")))]
    image: String,

    /// Namespace, which is made unless it is `default`
    #[arg(long, value_name = "NAME", default_value = "fieldgate", value_parser = label)]
    namespace: String,

    /// The namespace is there already and is not among the resources
    ///
    /// What is not among them is not changed when they are applied, and stays when they are deleted.
    #[arg(long)]
    existing_namespace: bool,

    /// Name of the deployment and of everything that has no other
    #[arg(long, value_name = "NAME", default_value = "fieldgate", value_parser = label)]
    name: String,

    /// Class of the volume for the state folder; the cluster's default if it is not given
    #[arg(long, value_name = "CLASS", value_parser = label)]
    storage_class: Option<String>,

    /// Size of that volume, such as 4Gi; after `[limits]` if it is not given
    #[arg(long, value_name = "SIZE", value_parser = quantity)]
    storage: Option<String>,

    /// Let this issuer of cert-manager make the certificates that the configuration names as files
    #[arg(long, value_name = "NAME", value_parser = label, conflicts_with = "cluster_issuer")]
    issuer: Option<String>,

    /// As --issuer, with a ClusterIssuer
    #[arg(long, value_name = "NAME", value_parser = label)]
    cluster_issuer: Option<String>,
}

/// A name that every kind of resource can have.
fn label(text: &str) -> Result<String, String> {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_right = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(is_end)
        && text.chars().all(|c| is_end(c) || c == '-');
    match is_right {
        true => Ok(text.to_owned()),
        false => Err("a name has 1 to 40 lower-case letters, digits and hyphens, a letter first and no hyphen last".to_owned()),
    }
}

fn quantity(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let is_right = digits.parse::<u32>().is_ok_and(|number| number > 0)
        && ["", "M", "G", "T", "Mi", "Gi", "Ti"].contains(&unit);
    match is_right {
        true => Ok(text.to_owned()),
        false => Err("a size is a whole number with a unit, such as 4Gi".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Render(args) => render(args),
        What::Crds => {
            let mut output = Output::default();
            output.text(kubernetes::custom_resource_definitions());
            output.finish()
        }
    }
}

fn render(args: &RenderArgs) -> Result<(), Failure> {
    let loaded = args.config.load()?;
    let files = files(&loaded)?;
    let issuer = |name: &String, is_of_cluster| Issuer {
        name: name.clone(),
        is_of_cluster,
    };
    let of_cluster = args.cluster_issuer.as_ref().map(|name| issuer(name, true));
    let options = RenderOptions {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        is_shared: args.existing_namespace,
        image: args.image.clone(),
        storage_class: args.storage_class.clone(),
        storage: args.storage.clone(),
        issuer: args
            .issuer
            .as_ref()
            .map(|name| issuer(name, false))
            .or(of_cluster),
    };
    let rendered = kubernetes::render(&loaded.settings, &files, &options).map_err(|fault| {
        Failure::rendered(Exit::Config, format!("error: {}", printable(&fault.to_string())))
            .hint("a cluster takes a configuration of its own where the one of the device cannot run in a pod")
    })?;
    for note in &rendered.notes {
        say(&format!("note: {}\n", printable(note)));
    }
    if !rendered.required.is_empty() {
        say(&format!(
            "what has to be in the namespace {}:\n",
            args.namespace
        ));
        for line in &rendered.required {
            say(&format!("  {}\n", printable(line)));
        }
    }
    let mut output = Output::default();
    output.text(&rendered.text);
    output.finish()
}

/// The files of a configuration under the names that they have in the pod.
fn files(loaded: &Loaded) -> Result<Vec<ConfigFile>, Failure> {
    if loaded.sources.is_empty() {
        return Ok(vec![ConfigFile {
            name: "gateway.toml".to_owned(),
            text: DEFAULT_TEXT.to_owned(),
        }]);
    }
    let mut files = Vec::with_capacity(loaded.sources.len());
    for (index, path) in loaded.sources.iter().enumerate() {
        let text = fs::read_to_string(path).map_err(|error| {
            let context = format!("cannot read `{}`", path.display());
            Failure::runtime(anyhow::Error::new(error).context(context))
        })?;
        let name = match (index, path.file_name()) {
            (0, _) | (_, None) => "gateway.toml".to_owned(),
            (_, Some(name)) => format!("conf.d/{}", name.to_string_lossy()),
        };
        let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if let Some(wrong) = name.chars().find(|c| !is_key(*c)) {
            let message = format!(
                "error: the name of `{}` has {wrong:?}, which no key of a ConfigMap has",
                path.display()
            );
            return Err(Failure::rendered(Exit::Config, printable(&message)));
        }
        files.push(ConfigFile { name, text });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_checked() {
        for name in ["a", "fieldgate", "edge-1"] {
            assert!(label(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "a-", "A", "a.b", "a/b", &"a".repeat(41)] {
            assert!(label(name).is_err(), "{name}");
        }
        for size in ["4Gi", "500M", "1Ti"] {
            assert!(quantity(size).is_ok(), "{size}");
        }
        for size in ["", "0Gi", "Gi", "1.5Gi", "1KB", "-1Gi", "1 Gi"] {
            assert!(quantity(size).is_err(), "{size}");
        }
    }
}
