//! The two addresses. Everything is bounded: connections, those of one address, the head of a request, and the time of each
//! step. An address that is taken or not there yet is reported and tried again, never fatal.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::respond::respond;
use super::{DoorReport, EstServer, TlsReceiver};
use crate::auth::{Prefix, UnfitCertificate};
use crate::clock;
use crate::config::EstSettings;

/// Largest request head; hyper does not go below 8 KiB.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to send the request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time of a whole connection, which serves one request. Passwords may wait for their turn, and the answer to a wrong one is
/// held back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a failed accept, so that a lack of descriptors does not turn into a lack of processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Pause between two attempts to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(2);

/// What an address is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DoorState {
    /// The configuration wants none.
    #[default]
    Off,
    /// There is no certificate for it yet.
    AwaitingCertificate,
    /// The address is taken or not there yet.
    AwaitingAddress,
    /// It serves.
    Listening,
}

impl DoorState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::AwaitingCertificate => "awaiting-certificate",
            Self::AwaitingAddress => "awaiting-address",
            Self::Listening => "listening",
        }
    }
}

/// Where an address stands, shared with who reports it.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<DoorReport>);

impl Shown {
    pub(super) fn report(&self) -> DoorReport {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, address: Option<SocketAddr>, state: DoorState, detail: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = DoorReport {
            address,
            state,
            detail,
        };
    }
}

/// Who asks, as far as the connection says.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// The certificate of the client, in DER, whose key it has proven to have.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) is_tls: bool,
}

/// One of the two addresses.
pub(super) struct Door {
    server: Arc<EstServer>,
    /// Only where TLS is spoken.
    tls: Option<TlsReceiver>,
    places: Arc<Places>,
}

impl Door {
    pub(super) fn new(server: Arc<EstServer>, tls: Option<TlsReceiver>) -> Self {
        Self {
            server,
            tls,
            places: Arc::default(),
        }
    }

    /// Serves on the address that the settings have, and on the next one whenever it changes.
    pub(super) async fn run(self) {
        let mut settings = self.server.settings.subscribe();
        // Outlives a change of the address, so that whoever is served is served to the end.
        let mut connections = JoinSet::new();
        loop {
            let wanted = self.address(&settings.borrow_and_update());
            tokio::select! {
                () = self.moved(&mut settings, wanted) => {}
                never = self.listen_and_serve(wanted, &mut connections) => match never {}
            }
        }
    }

    fn address(&self, settings: &EstSettings) -> Option<SocketAddr> {
        match self.tls {
            Some(_) => settings.https,
            None => settings.http,
        }
    }

    fn shown(&self) -> &Shown {
        match self.tls {
            Some(_) => &self.server.https,
            None => &self.server.http,
        }
    }

    fn what(&self) -> &'static str {
        match self.tls {
            Some(_) => "enrolment over https",
            None => "the root certificate over http",
        }
    }

    /// Returns when another address is wanted.
    async fn moved(&self, settings: &mut watch::Receiver<EstSettings>, wanted: Option<SocketAddr>) {
        let is_other = |settings: &EstSettings| self.address(settings) != wanted;
        if settings.wait_for(is_other).await.is_err() {
            pending::<()>().await;
        }
    }

    async fn listen_and_serve(
        &self,
        wanted: Option<SocketAddr>,
        connections: &mut JoinSet<()>,
    ) -> Infallible {
        let Some(address) = wanted else {
            self.shown().set(None, DoorState::Off, None);
            return pending().await;
        };
        self.certificate(address).await;
        let listener = self.listen(address).await;
        loop {
            let max = self.server.settings.borrow().connections_max;
            let has_room = connections.len() < usize::try_from(max).unwrap_or(usize::MAX);
            tokio::select! {
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer.ip(), max, connections),
                    Err(error) => {
                        warn!(%error, "cannot accept for {}", self.what());
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Waits until there is a certificate, where one is needed.
    async fn certificate(&self, address: SocketAddr) {
        let Some(tls) = &self.tls else { return };
        if tls.borrow().is_some() {
            return;
        }
        let detail = "there is no certificate for it yet".to_owned();
        self.shown()
            .set(Some(address), DoorState::AwaitingCertificate, Some(detail));
        let mut tls = tls.clone();
        if tls.wait_for(Option::is_some).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Tries until it succeeds; says so once per reason.
    async fn listen(&self, address: SocketAddr) -> TcpListener {
        let mut said: Option<io::ErrorKind> = None;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let bound = listener.local_addr().unwrap_or(address);
                    self.shown().set(Some(bound), DoorState::Listening, None);
                    info!(address = %bound, "{} is served", self.what());
                    return listener;
                }
                Err(error) => {
                    let detail = Some(error.to_string());
                    self.shown()
                        .set(Some(address), DoorState::AwaitingAddress, detail);
                    if said.replace(error.kind()) != Some(error.kind()) {
                        warn!(%address, %error, "{} is not served yet; trying again", self.what());
                    }
                }
            }
            sleep(LISTEN_PAUSE).await;
        }
    }

    /// Serves a connection, unless its address is banned or has its share already.
    fn take(&self, stream: TcpStream, address: IpAddr, max: u32, connections: &mut JoinSet<()>) {
        let guard = self.server.access.guard();
        if self.tls.is_some() && guard.is_address_banned(address, clock::now()) {
            return;
        }
        // Nobody keeps all others out alone.
        let share = (max / 2).max(1);
        let Some(place) = Places::take(&self.places, address, share) else {
            debug!(%address, "too many connections of one address for {}", self.what());
            return;
        };
        let (server, tls) = (Arc::clone(&self.server), self.tls.clone());
        connections.spawn(async move {
            let _place = place;
            let served = serve_connection(stream, address, server, tls);
            // What goes wrong here concerns the peer alone, which knows it already.
            let _ = timeout(CONNECTION_TIMEOUT, served).await;
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: IpAddr,
    server: Arc<EstServer>,
    tls: Option<TlsReceiver>,
) {
    let caller = Caller {
        address,
        certificate: None,
        is_tls: tls.is_some(),
    };
    let Some(tls) = tls else {
        return serve_requests(TokioIo::new(stream), caller, server).await;
    };
    let Some(config) = tls.borrow().clone() else {
        return;
    };
    let mut unfit = None;
    let handshake = shake(TlsAcceptor::from(config).accept(stream), &mut unfit);
    let shaken = timeout(HANDSHAKE_TIMEOUT, handshake).await;
    if let Some(unfit) = unfit {
        server.note_unfit(&unfit, address);
    }
    match shaken {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let own = chain.and_then(<[_]>::first);
            let caller = Caller {
                certificate: own.map(|own| own.to_vec()),
                ..caller
            };
            serve_requests(TokioIo::new(stream), caller, server).await;
        }
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake for enrolment failed"),
        Err(_) => debug!(%address, "TLS handshake for enrolment took too long"),
    }
}

/// Does a handshake, and keeps the certificate that is refused in it. It has to be taken on the thread that has refused it, and
/// before somebody else's is refused there.
async fn shake<T>(
    handshake: impl Future<Output = T>,
    refused: &mut Option<Box<UnfitCertificate>>,
) -> T {
    let mut handshake = pin!(handshake);
    poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        if let Some(unfit) = UnfitCertificate::take_refused() {
            *refused = Some(unfit);
        }
        polled
    })
    .await
}

async fn serve_requests<S>(stream: S, caller: Caller, server: Arc<EstServer>)
where
    S: Read + Write + Unpin,
{
    let service = service_fn(move |request| {
        let (server, caller) = (Arc::clone(&server), caller.clone());
        async move { Ok::<_, Infallible>(respond(&server, request, &caller).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(stream, service);
    // As above: the peer knows it.
    let _ = connection.await;
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<Prefix, u32>>);

/// The place of one connection, given back when it is dropped.
struct Place {
    places: Arc<Places>,
    prefix: Prefix,
}

impl Places {
    fn take(places: &Arc<Self>, address: IpAddr, max: u32) -> Option<Place> {
        let prefix = Prefix::of(address);
        let mut taken = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(prefix).or_default();
        if *own >= max {
            return None;
        }
        *own += 1;
        Some(Place {
            places: Arc::clone(places),
            prefix,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.prefix) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_given_back() {
        let places = Arc::new(Places::default());
        let take = |address: &str| Places::take(&places, address.parse().unwrap(), 2);
        let first = take("192.0.2.1").unwrap();
        let _second = take("192.0.2.1").unwrap();
        assert!(take("::ffff:192.0.2.1").is_none());
        drop(take("192.0.2.2").unwrap());
        drop(first);
        let _third = take("192.0.2.1").unwrap();
        assert_eq!(places.0.lock().unwrap().len(), 1);
    }
}
