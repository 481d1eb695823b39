//! What is watched.

use std::collections::BTreeMap;

use super::client::{ApiClient, Detail};
use super::fault::ApiFault;
use crate::kubernetes::BROKER_GROUP;
pub(super) use crate::kubernetes::LISTENER_LABEL;

/// The group of the cluster broker whose resources count as ours where its CRDs are there.
const FOREIGN_GROUP: &str = "mqttbroker.iotoperations.azure.com";

/// The version of our own resources.
pub(super) const OWN_VERSION: &str = "v1";

/// The group that a resource is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Own,
    Foreign,
}

/// A kind of resource that says what the broker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Broker,
    Authentication,
    Authorization,
    Listener,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::Broker,
        Self::Authentication,
        Self::Authorization,
        Self::Listener,
    ];

    /// The word of `kind`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Authentication => "BrokerAuthentication",
            Self::Authorization => "BrokerAuthorization",
            Self::Listener => "BrokerListener",
        }
    }

    /// The word of paths.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Broker => "brokers",
            Self::Authentication => "brokerauthentications",
            Self::Authorization => "brokerauthorizations",
            Self::Listener => "brokerlisteners",
        }
    }
}

/// Objects of one kind in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Collection {
    Resources(Group, Kind),
    /// Names and versions only: what no resource names is never read.
    Secrets,
    ConfigMaps,
    /// Those that the controller has made.
    Services,
}

impl Collection {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let groups = [Group::Own, Group::Foreign];
        let resources = groups
            .into_iter()
            .flat_map(|group| Kind::ALL.map(|kind| Self::Resources(group, kind)));
        resources.chain([Self::Secrets, Self::ConfigMaps, Self::Services])
    }

    pub(super) fn detail(self) -> Detail {
        match self {
            Self::Resources(..) | Self::Services => Detail::Whole,
            Self::Secrets | Self::ConfigMaps => Detail::Metadata,
        }
    }

    /// Objects that are kept; of names there may be more, because a namespace is shared.
    pub(super) fn objects_max(self) -> usize {
        match self {
            Self::Resources(..) | Self::Services => 256,
            Self::Secrets | Self::ConfigMaps => 10_000,
        }
    }

    /// Conditions of a list, besides how it goes on.
    pub(super) fn selector(self) -> &'static str {
        match self {
            Self::Services => "&labelSelector=mqttbroker.fieldgate.io%2Flistener",
            Self::Resources(..) | Self::Secrets | Self::ConfigMaps => "",
        }
    }

    /// Whether the controller does without it where it is not to be had.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Self::Resources(Group::Foreign, _))
    }

    /// Whether it says nothing by itself: resources name its objects, or have made them.
    pub(super) fn is_auxiliary(self) -> bool {
        !matches!(self, Self::Resources(..))
    }

    /// Whether documents, by the paths of their resources, are of this collection.
    pub(super) fn is_among(self, documents: &BTreeMap<String, String>) -> bool {
        let Self::Resources(group, kind) = self else {
            return false;
        };
        let begin = format!("{}/{}/", group_name(group), kind.plural());
        documents.keys().any(|path| path.starts_with(&begin))
    }

    /// What it is called in the log.
    pub(super) fn name(self) -> String {
        match self {
            Self::Resources(group, kind) => format!("{}.{}", kind.plural(), group_name(group)),
            Self::Secrets => "secrets".to_owned(),
            Self::ConfigMaps => "configmaps".to_owned(),
            Self::Services => "services".to_owned(),
        }
    }

    /// Where it is. A group of others is asked which version it has.
    pub(super) async fn path(
        self,
        client: &ApiClient,
        namespace: &str,
    ) -> Result<String, ApiFault> {
        let (base, plural) = match self {
            Self::Resources(group, kind) => {
                let version = version(client, group).await?;
                (
                    format!("/apis/{}/{version}", group_name(group)),
                    kind.plural(),
                )
            }
            Self::Secrets => ("/api/v1".to_owned(), "secrets"),
            Self::ConfigMaps => ("/api/v1".to_owned(), "configmaps"),
            Self::Services => ("/api/v1".to_owned(), "services"),
        };
        Ok(format!("{base}/namespaces/{namespace}/{plural}"))
    }
}

pub(super) fn group_name(group: Group) -> &'static str {
    match group {
        Group::Own => BROKER_GROUP,
        Group::Foreign => FOREIGN_GROUP,
    }
}

async fn version(client: &ApiClient, group: Group) -> Result<String, ApiFault> {
    if group == Group::Own {
        return Ok(OWN_VERSION.to_owned());
    }
    let path = format!("/apis/{}", group_name(group));
    let about = client.get(&path, Detail::Whole).await?;
    let version = about.pointer("/preferredVersion/version");
    let version = version.and_then(|version| version.as_str());
    match version.filter(|version| is_plain(version)) {
        Some(version) => Ok(version.to_owned()),
        None => Err(ApiFault::Answer("a group without a version")),
    }
}

/// Whether a text of the API server may stand in a path.
pub(super) fn is_plain(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text.chars().all(|c| is_end(c) || c == '-' || c == '.')
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_the_same_in_the_selector() {
        let label = LISTENER_LABEL.replace('/', "%2F");
        assert_eq!(
            Collection::Services.selector(),
            format!("&labelSelector={label}")
        );
        assert!(LISTENER_LABEL.starts_with(BROKER_GROUP));
    }

    #[test]
    fn only_names_come_into_paths() {
        for text in ["v1", "client-ca", "a.b"] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["", "../x", "a/b", "a..b", "A", "a?b", "-a"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
