//! Sessions and subscriptions that come and go: what was acknowledged is in force, before and after a kill.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chance::Chance;
use crate::stage::{Phase, Stage, rest};
use crate::support::packet::{
    Connect, PUBACK, Publish, Received, V5, Version, ack, subscribe, unsubscribe,
};
use crate::support::property::SESSION_EXPIRY_INTERVAL;
use crate::wire::{Gone, Wire};

const DEADLINE: Duration = Duration::from_secs(20);
const TOPICS: u8 = 5;

/// A client that changes its subscriptions and tests which are in force by publishing to itself.
#[derive(Debug)]
pub(crate) struct Churner {
    version: Version,
    name: String,
    chance: Chance,
    /// Whether there must be a session; `None` while an answer is missing.
    session: Option<bool>,
    /// Whether each subscription must be in force; `None` while an answer is missing.
    known: [Option<bool>; TOPICS as usize],
    probes: u64,
    next_packet_id: u16,
}

impl Churner {
    pub(crate) fn new(index: u16, version: Version, chance: &Chance) -> Self {
        Self {
            version,
            name: format!("churner-{index}"),
            chance: chance.branch(3000 + u64::from(index)),
            session: Some(false),
            known: [Some(false); TOPICS as usize],
            probes: 0,
            next_packet_id: 0,
        }
    }

    pub(crate) fn run(mut self, stage: &Stage) {
        let mut finished = false;
        while !finished {
            let is_end = stage.phase() >= Phase::Drain;
            let Some(place) = stage.await_place() else {
                return;
            };
            let clean = !is_end && self.chance.percent(15);
            if clean {
                // Until the answer comes, the old session may be there or not.
                self.session = None;
                self.known = [None; TOPICS as usize];
            }
            let expected = if clean { Some(false) } else { self.session };
            if self.session == Some(false) {
                // It may be there although no answer has told so.
                self.session = None;
            }
            let served = Wire::open(place, &self.connect(clean)).and_then(|(mut wire, connack)| {
                self.begin(clean, expected, connack.session_present, stage);
                self.serve(&mut wire, stage)?;
                wire.disconnect();
                Ok(())
            });
            finished = is_end && served.is_ok();
            rest(self.chance.between(1, 60));
        }
    }

    fn connect(&self, clean: bool) -> Connect {
        let mut connect = Connect::new(self.version, &self.name);
        if !clean {
            connect = connect.resume();
        }
        if self.version == V5 {
            return connect.with(SESSION_EXPIRY_INTERVAL, 3600_u32);
        }
        connect
    }

    fn begin(&mut self, clean: bool, expected: Option<bool>, present: bool, stage: &Stage) {
        if expected.is_some_and(|expected| expected != present) {
            let text = format!("{}: session present is {present}", self.name);
            stage.book().fault(text);
        }
        if !present {
            self.known = [Some(false); TOPICS as usize];
        }
        // A clean session of version 3.1.1 ends with the connection.
        self.session = Some(!(clean && self.version != V5));
    }

    fn serve(&mut self, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        let base = self.topic("always");
        self.change(wire, &base, true)?;
        self.probe(wire, stage)?;
        for _ in 0..self.chance.between(0, 4) {
            let number = self.chance.below(u64::from(TOPICS)) as usize;
            let subscribes = self.chance.percent(60);
            self.known[number] = None;
            let topic = self.topic(&number.to_string());
            self.change(wire, &topic, subscribes)?;
            self.known[number] = Some(subscribes);
        }
        stage.book().count("looks at subscriptions");
        if self.chance.percent(30) {
            self.probe(wire, stage)?;
        }
        if self.session == Some(false) {
            self.known = [Some(false); TOPICS as usize];
        }
        // Some of the time the connection is only held, so that the gateway dies over it.
        while self.chance.percent(50) && stage.phase() == Phase::Load {
            self.next(wire, Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn topic(&self, name: &str) -> String {
        format!("churn/{}/{name}", self.name)
    }

    fn packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id % 60_000 + 1;
        self.next_packet_id
    }

    fn change(&mut self, wire: &mut Wire, topic: &str, subscribes: bool) -> Result<(), Gone> {
        let packet_id = self.packet_id();
        if subscribes {
            wire.send(&subscribe(self.version, packet_id, None, &[(topic, 1)]))?;
        } else {
            wire.send(&unsubscribe(self.version, packet_id, &[topic]))?;
        }
        loop {
            match self.next(wire, DEADLINE)? {
                Some(Received::SubAck(found) | Received::UnsubAck(found)) => {
                    assert_eq!(found.packet_id, packet_id);
                    return Ok(());
                }
                Some(_) => {}
                None => panic!("{} has no SUBACK", self.name),
            }
        }
    }

    /// Publishes to every topic, at last to the one that is always subscribed, and sees what comes.
    fn probe(&mut self, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        self.probes += 1;
        let payload = self.probes.to_string();
        let mut came = BTreeMap::new();
        let names = (0..TOPICS).map(|number| number.to_string());
        for name in names.chain(["always".to_owned()]) {
            let packet_id = self.packet_id();
            let publish = Publish::new(&self.topic(&name), &payload).qos(1, packet_id);
            wire.send(&publish.encode(self.version))?;
        }
        let always = self.topic("always");
        let mut acknowledged = 0;
        while acknowledged <= TOPICS || !came.contains_key(&always) {
            match self.next(wire, DEADLINE)? {
                Some(Received::PubAck(_)) => acknowledged += 1,
                Some(Received::Publish(found)) if found.payload == payload.as_bytes() => {
                    came.insert(found.topic, ());
                }
                Some(_) => {}
                None => {
                    let text = format!("{}: nothing comes to `always`", self.name);
                    stage.book().fault(text);
                    return Err(Gone);
                }
            }
        }
        for number in 0..TOPICS {
            let found = came.contains_key(&self.topic(&number.to_string()));
            let known = &mut self.known[usize::from(number)];
            if known.is_some_and(|known| known != found) {
                let text = format!("{}: subscription {number} in force: {found}", self.name);
                stage.book().fault(text);
            }
            *known = Some(found);
        }
        Ok(())
    }

    /// The next packet; a PUBLISH is acknowledged.
    fn next(&self, wire: &mut Wire, limit: Duration) -> Result<Option<Received>, Gone> {
        let heard = wire.hear(limit)?;
        match &heard {
            Some(Received::Publish(found)) => wire.send(&ack(PUBACK, found.packet_id))?,
            Some(Received::Disconnect(_)) => return Err(Gone),
            _ => {}
        }
        Ok(heard)
    }
}

/// A client whose session is kept or not, in turns, and that says what it must find.
pub(crate) fn run_turns(stage: &Stage, mut chance: Chance) {
    // Clean start, expiry, and whether the session must be there.
    let turns = [
        (true, 0, false),
        (false, 3600, false),
        (false, 3600, true),
        (true, 3600, false),
        (false, 0, true),
        (false, 0, false),
    ];
    let mut turn = 0;
    let mut is_sure = true;
    while let Some(place) = stage.await_place() {
        if stage.phase() >= Phase::Drain {
            return;
        }
        let (clean, expiry, present) = turns[turn % turns.len()];
        let mut connect = Connect::new(V5, "in-turns").with(SESSION_EXPIRY_INTERVAL, expiry as u32);
        if !clean {
            connect = connect.resume();
        }
        match Wire::open(place, &connect) {
            Ok((mut wire, connack)) => {
                let mut book = stage.book();
                book.count("looks at sessions");
                if is_sure && connack.session_present != present {
                    let found = connack.session_present;
                    book.fault(format!("in turn {turn} session present is {found}"));
                }
                drop(book);
                is_sure = true;
                turn += 1;
                if wire
                    .hear(Duration::from_millis(chance.between(0, 80)))
                    .is_ok()
                {
                    wire.disconnect();
                }
            }
            // Whether the gateway has done it is not known; a clean start clears that up.
            Err(Gone) => is_sure = turns[turn % turns.len()].0,
        }
    }
}
