//! What a Broker says about its pods, its disk and its traces: it has no meaning for one process, and is looked at none the
//! less, because the cluster broker would not take it either if it were misspelled or out of bounds.

use super::fields::{At, Notes, Word};
use super::tls::{ALGORITHMS, ROTATION_POLICIES, seconds};
use super::yaml::Value;

/// A field and what it holds.
pub(super) struct Shape(&'static str, Holds);

enum Holds {
    Table(&'static [Shape]),
    /// A list of tables.
    Tables(&'static [Shape]),
    Texts,
    Word(&'static [Word]),
    /// A whole number within these bounds.
    Number(u64, u64),
    Duration,
    /// A single value of any kind.
    Single,
    /// What the cluster itself defines.
    Anything,
}

use Holds::{Anything, Duration, Number, Single, Table, Tables, Texts};

/// Largest number of a field whose bounds are not known.
const NUMBER_MAX: u64 = 2_147_483_647;

/// Switches, which were `true` and `false` in older shapes.
const SWITCH: Holds = Holds::Word(&[("Enabled", &["true"]), ("Disabled", &["false"])]);

const POLICY: Holds = Holds::Word(&[("All", &[]), ("None", &[]), ("Custom", &[])]);

const KEY_TYPE: Holds = Holds::Word(&[("Pattern", &[]), ("String", &[]), ("Binary", &[])]);

pub(super) const MODE: &[Shape] = &[Shape("mode", SWITCH)];

const DYNAMIC: Shape = Shape("dynamic", Table(MODE));

pub(super) const CARDINALITY: &[Shape] = &[
    Shape(
        "backendChain",
        Table(&[
            Shape("partitions", Number(1, 16)),
            Shape("redundancyFactor", Number(2, 5)),
            Shape("workers", Number(1, 16)),
            Shape("replicas", Number(1, NUMBER_MAX)),
            Shape("temporaryDiskTransferEnabled", SWITCH),
            Shape("temporaryDiskTransferHighWatermarkPercent", Single),
            Shape("temporaryDiskTransferLowWatermarkPercent", Single),
            Shape("temporaryMaxBackendMemUsagePercent", Single),
        ]),
    ),
    Shape(
        "frontend",
        Table(&[
            Shape("replicas", Number(1, 16)),
            Shape("workers", Number(1, 16)),
            Shape("temporaryResourceLimits", Anything),
        ]),
    ),
];

pub(super) const RESOURCE_LIMITS: &[Shape] = &[Shape("cpu", SWITCH)];

pub(super) const INTERNAL_CERTS: &[Shape] = &[
    Shape("duration", Duration),
    Shape("renewBefore", Duration),
    Shape(
        "privateKey",
        Table(&[
            Shape("algorithm", Holds::Word(ALGORITHMS)),
            Shape("rotationPolicy", Holds::Word(ROTATION_POLICIES)),
        ]),
    ),
];

pub(super) const RETAIN: &[Shape] = &[
    Shape("mode", POLICY),
    Shape("retainSettings", Table(&[Shape("topics", Texts), DYNAMIC])),
];

pub(super) const SUBSCRIBER_QUEUE: &[Shape] = &[
    Shape("mode", POLICY),
    Shape(
        "subscriberQueueSettings",
        Table(&[
            Shape("subscriberClientIds", Texts),
            Shape("topics", Texts),
            DYNAMIC,
        ]),
    ),
];

pub(super) const STATE_STORE: &[Shape] = &[
    Shape("mode", POLICY),
    Shape(
        "stateStoreSettings",
        Table(&[
            Shape(
                "stateStoreResources",
                Tables(&[Shape("keyType", KEY_TYPE), Shape("keys", Texts)]),
            ),
            DYNAMIC,
        ]),
    ),
];

pub(super) const DYNAMIC_SETTINGS: &[Shape] = &[
    Shape("userPropertyKey", Single),
    Shape("userPropertyValue", Single),
];

pub(super) const SELF_CHECK: &[Shape] = &[
    Shape("mode", SWITCH),
    Shape("intervalSeconds", Number(30, 300)),
    Shape("timeoutSeconds", Number(5, 120)),
];

/// `opentelemetryExportConfig` of logs, metrics and traces, in the previews.
const EXPORT: Shape = Shape(
    "opentelemetryExportConfig",
    Table(&[
        Shape("otlpGrpcEndpoint", Single),
        Shape("intervalSeconds", Number(0, NUMBER_MAX)),
        Shape("exportInterval", Number(0, NUMBER_MAX)),
        Shape("level", Single),
    ]),
);

/// What logs and metrics have besides their own.
pub(super) const EXPORTS: &[Shape] = &[
    EXPORT,
    Shape("exportLogLevel", Single),
    Shape("mode", SWITCH),
];

pub(super) const TRACES: &[Shape] = &[
    Shape("mode", SWITCH),
    Shape("cacheSizeMegabytes", Number(1, 128)),
    Shape("spanChannelCapacity", Number(1000, 100_000)),
    Shape(
        "selfTracing",
        Table(&[
            Shape("mode", SWITCH),
            Shape("intervalSeconds", Number(1, 300)),
        ]),
    ),
    EXPORT,
];

impl Notes<'_> {
    /// Notes whatever is wrong with a table, at any depth.
    pub(super) fn check(&mut self, at: &At<'_>, shapes: &'static [Shape]) {
        let keys: Vec<&'static str> = shapes.iter().map(|Shape(key, _)| *key).collect();
        let Some(fields) = self.fields(at, &keys) else {
            return;
        };
        for (key, below) in fields.iter() {
            self.check_field(key, below, shapes);
        }
    }

    /// As [`Self::check`], for one field of the table.
    pub(super) fn check_field(&mut self, key: &str, at: &At<'_>, shapes: &'static [Shape]) {
        let Some(Shape(_, holds)) = shapes.iter().find(|Shape(name, _)| *name == key) else {
            return;
        };
        match holds {
            Table(shapes) => self.check(at, shapes),
            Tables(shapes) => {
                for item in self.list(at) {
                    self.check(&item, shapes);
                }
            }
            Texts => {
                self.texts(at);
            }
            Holds::Word(words) => {
                self.word(at, words);
            }
            Number(min, max) => {
                self.number(at, *min, *max);
            }
            Duration => {
                seconds(self, at);
            }
            Single if matches!(at.node.value, Value::Text(_)) => {}
            Single => {
                let why = format!("it takes a single value, not {}", at.node.value.what());
                self.bad(at, why);
            }
            Anything => {}
        }
    }
}
