//! One run: the clients at work, the gateway killed again and again, and at the end the account.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::churn::{self, Churner};
use crate::other::Mosquitto;
use crate::powercut::PowerCut;
use crate::publisher::Publisher;
use crate::retained;
use crate::stage::{Phase, Place, Stage, rest};
use crate::subscriber::{Habit, Subscriber};
use crate::support::{TestGateway, V3_1_1, V5};

/// Bounds that no run reaches.
pub(crate) const CONFIG: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"

[limits]
stop_timeout = "1 s"
queue_bytes_max = "1 GiB"
queue_bytes_per_client_max = "512 MiB"
queue_messages_per_client_max = 10_000_000
"#;

/// How long the gateway may take to hand out everything that is due.
const DRAIN_DEADLINE: Duration = Duration::from_secs(180);

/// How long nothing may come before no more is expected.
const STANDSTILL: Duration = Duration::from_secs(15);

/// How the gateway goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// SIGKILL: what it wrote is there, synced or not.
    Process,
    /// SIGKILL, and what was not synced is lost, torn and reordered.
    Power,
    /// SIGTERM, awaited.
    Stop,
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    pub(crate) death: Death,
    /// The longest time between a start and a kill.
    pub(crate) uptime_ms_max: u64,
}

/// Carries out a plan and fails if a promise was broken.
#[track_caller]
pub(crate) fn run(plan: Plan) {
    say(&format!("{plan:?}"));
    let stage = Arc::new(Stage::new());
    let chance = Chance::new(plan.seed);
    let mut broker = Broker::new(plan, &stage, chance.branch(1));
    broker.start();
    let crew = Crew::enlist(&stage, &chance);
    let begun = Instant::now();
    stage.set_phase(Phase::Load);
    for _ in 0..plan.kills {
        broker.live();
        broker.die();
        broker.start();
    }
    broker.live();
    stage.set_phase(Phase::Drain);
    crew.finish(&stage);
    let book = stage.book();
    let report = book.report();
    say(&format!(
        "seed {}, {:?}, {} kills in {:?}: {report}",
        plan.seed,
        plan.death,
        plan.kills,
        begun.elapsed()
    ));
    assert!(
        book.counted("first deliveries") > 0,
        "nothing was delivered"
    );
    assert_eq!(book.unacknowledged(), 0, "messages are not acknowledged");
    assert!(
        book.fault_count() == 0,
        "promises were broken; again with FIELDGATE_CRASH_SEED={}\n{report}",
        plan.seed
    );
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The gateway of a run.
struct Broker<'a> {
    plan: Plan,
    stage: &'a Stage,
    chance: Chance,
    gateway: TestGateway,
    layer: Option<PowerCut>,
    other: Option<Mosquitto>,
    generation: u64,
}

impl<'a> Broker<'a> {
    fn new(plan: Plan, stage: &'a Stage, chance: Chance) -> Self {
        let gateway = TestGateway::here(CONFIG);
        let layer = (plan.death == Death::Power)
            .then(|| PowerCut::new(&gateway.path("state"), &gateway.path("records")));
        Self {
            plan,
            stage,
            chance,
            gateway,
            layer,
            other: Mosquitto::wanted(),
            generation: 0,
        }
    }

    fn start(&mut self) {
        self.generation += 1;
        let address = match &mut self.other {
            Some(other) => {
                other.start();
                other.address
            }
            None => self.start_gateway(),
        };
        self.stage.set_place(Some(Place {
            address,
            generation: self.generation,
        }));
    }

    fn start_gateway(&mut self) -> SocketAddr {
        if self.generation > 1 && self.plan.death != Death::Stop && self.chance.percent(15) {
            self.die_early();
        }
        for (name, value) in self.variables() {
            self.gateway.add_variable(name, value);
        }
        let begun = Instant::now();
        self.gateway.run();
        let mut book = self.stage.book();
        book.count("starts");
        book.add("ms of starts", begun.elapsed().as_millis() as u64);
        drop(book);
        self.gateway.address()
    }

    fn variables(&mut self) -> Vec<(&'static str, OsString)> {
        let Some(layer) = &self.layer else {
            return Vec::new();
        };
        let mut variables = layer.arm();
        // A sync takes its time on a device, which is when the power goes.
        let sync_us = self.chance.below(3_000).to_string();
        variables.push(("POWERCUT_SYNC_US", sync_us.into()));
        if std::env::var_os("FIELDGATE_CRASH_IGNORE_SYNC").is_some() {
            variables.push(("POWERCUT_IGNORE_SYNC", "1".into()));
        }
        variables
    }

    fn live(&mut self) {
        let time = if self.chance.percent(10) {
            self.chance.between(0, 20)
        } else {
            self.chance.between(20, self.plan.uptime_ms_max)
        };
        rest(time);
    }

    fn die(&mut self) {
        self.stage.set_place(None);
        if let Some(other) = &mut self.other {
            let stops = self.plan.death == Death::Stop;
            other.end(if stops {
                Signal::SIGTERM
            } else {
                Signal::SIGKILL
            });
        } else if self.plan.death == Death::Stop {
            self.gateway.signal(Signal::SIGTERM);
            assert!(self.gateway.await_end().success(), "the gateway stops well");
        } else {
            self.gateway.kill();
        }
        self.strike();
    }

    /// Is killed while it starts.
    fn die_early(&mut self) {
        let variables = self.variables();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
            .arg("serve")
            .arg("--config")
            .arg(self.gateway.path("gateway.toml"))
            .arg("--state-dir")
            .arg(self.gateway.path("state"))
            .envs(variables)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the gateway");
        rest(self.chance.between(1, 120));
        let _ = child.kill();
        let _ = child.wait();
        self.stage.book().count("kills while starting");
        self.strike();
    }

    fn strike(&mut self) {
        let Some(layer) = self.layer.as_ref().filter(|_| self.other.is_none()) else {
            return;
        };
        let outcome = layer.strike(&mut self.chance);
        let mut book = self.stage.book();
        book.add("syncs", outcome.syncs);
        book.add("calls not synced", outcome.unsynced);
        book.add("sectors kept", outcome.sectors_kept);
        book.add("sectors lost", outcome.sectors_lost);
    }
}

/// All clients of a run.
struct Crew {
    publishers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
    settled: Vec<Arc<AtomicBool>>,
}

const PUBLISHERS: u16 = 4;

impl Crew {
    /// Starts everybody; returns when all subscriptions are acknowledged.
    fn enlist(stage: &Arc<Stage>, chance: &Chance) -> Self {
        let mut crew = Self {
            publishers: Vec::new(),
            watchers: Vec::new(),
            subscribers: Vec::new(),
            settled: Vec::new(),
        };
        let subscribed = crew.subscribe(stage, chance);
        while !subscribed.iter().all(|each| each.load(Ordering::SeqCst)) {
            assert!(!crew.subscribers.iter().any(JoinHandle::is_finished));
            rest(5);
        }
        let versions = |index: u16| if index.is_multiple_of(2) { V5 } else { V3_1_1 };
        for index in 0..PUBLISHERS {
            let publisher = Publisher::new(index, versions(index), chance);
            let stage = Arc::clone(stage);
            crew.publishers.push(spawn(move || publisher.run(&stage)));
        }
        let retaining = [PUBLISHERS, PUBLISHERS + 1];
        for index in retaining {
            let publisher = Publisher::new(index, versions(index), chance).retaining();
            let stage = Arc::clone(stage);
            crew.publishers.push(spawn(move || publisher.run(&stage)));
        }
        for index in 0..2 {
            let churner = Churner::new(index, versions(index), chance);
            let stage = Arc::clone(stage);
            crew.watchers.push(spawn(move || churner.run(&stage)));
        }
        let (reader, turns) = (chance.branch(2), chance.branch(3));
        let shared = Arc::clone(stage);
        crew.watchers
            .push(spawn(move || retained::run(&shared, &retaining, reader)));
        let shared = Arc::clone(stage);
        crew.watchers
            .push(spawn(move || churn::run_turns(&shared, turns)));
        crew
    }

    fn subscribe(&mut self, stage: &Arc<Stage>, chance: &Chance) -> Vec<Arc<AtomicBool>> {
        let mut all = Vec::new();
        let kinds = [Habit::Steady, Habit::Passing, Habit::Away]
            .into_iter()
            .flat_map(|habit| [V5, V3_1_1].map(|version| (habit, version)))
            .flat_map(|(habit, version)| [2, 1].map(|qos| (habit, version, qos)));
        for (index, (habit, version, qos)) in kinds.enumerate() {
            let subscriber = Subscriber::new(index as u16, version, habit, qos, chance);
            let (subscribed, settled) = (Arc::default(), Arc::default());
            all.push(Arc::clone(&subscribed));
            self.settled.push(Arc::clone(&settled));
            let stage = Arc::clone(stage);
            let work = move || subscriber.run(&stage, &subscribed, &settled);
            self.subscribers.push(spawn(work));
        }
        all
    }

    /// Brings everything that is under way to its end.
    fn finish(self, stage: &Stage) {
        let end = Instant::now() + DRAIN_DEADLINE;
        for thread in self.publishers.into_iter().chain(self.watchers) {
            while !thread.is_finished() && Instant::now() < end {
                rest(5);
            }
            if thread.is_finished() {
                thread.join().expect("a client that did not fail");
            } else {
                stage
                    .book()
                    .fault("a client does not come to its end".to_owned());
            }
        }
        for settled in &self.settled {
            settled.store(false, Ordering::SeqCst);
        }
        let mut progress = (0, Instant::now());
        while !self.settled.iter().all(|each| each.load(Ordering::SeqCst)) {
            rest(20);
            let delivered = stage.book().counted("delivered");
            if delivered != progress.0 {
                progress = (delivered, Instant::now());
            }
            if Instant::now() > end || progress.1.elapsed() > STANDSTILL {
                break;
            }
        }
        // Whatever comes now comes too often.
        rest(300);
        stage.set_phase(Phase::End);
        for thread in self.subscribers {
            thread.join().expect("a subscriber that did not fail");
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    Builder::new().spawn(work).expect("a thread")
}
