//! Metrics of the cluster whose resources open ports.

use super::{Row, row};
use crate::metrics::Kind;

/// Every family about the cluster; without samples where none is followed.
pub(super) const ROWS: &[Row] = &[
    row(
        "cluster_connected",
        Kind::Gauge,
        &[],
        "Whether everything that the cluster has to say has come and changes come: 1 or 0.",
        |status, samples| {
            if let Some(cluster) = &status.cluster {
                samples.add_count(&[], u64::from(cluster.connected));
            }
        },
    ),
    row(
        "cluster_resources",
        Kind::Gauge,
        &["state"],
        "Resources of the cluster by what became of them: `accepted` or `refused`.",
        |status, samples| {
            if let Some(cluster) = &status.cluster {
                samples.add_count(&["accepted"], cluster.accepted);
                samples.add_count(&["refused"], cluster.refused);
            }
        },
    ),
];
