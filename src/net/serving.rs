//! One port from the day it is opened to the day it is closed.
//!
//! It waits for its certificate, then for its address, then it accepts; whatever goes wrong is a state that says so and
//! is tried again, for ever.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::Peer;
use super::admission::{Admission, Burst, Permit, several};
use super::handshake::{Handshake, HandshakeFault};
use super::listener::{Listener, PassedSockets};
use super::port::{PortContext, PortTerms};
use super::refusal::Refused;
use super::socket::Socket;
use super::stream::{Carrier, Stream};
use super::tls::{CertificateSource, CertificateStore, SourceState};
use crate::auth::{Access, ClientTrust};
use crate::clock;
use crate::config::{PortSettings, Protocol, TlsSettings};

/// Pause before the first new attempt to open a socket, and the longest one.
const OPEN_PAUSE_MIN: Duration = Duration::from_millis(100);
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Pause after the system gave no connection, and the longest one: descriptors come back when clients leave.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Time between two looks at an address, a network interface or a socket file that may come and go.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Serves the connections that ports accept: a link in the gateway, something smaller in tests.
pub trait Serve: Clone + Send + Sync + 'static {
    /// Serves one connection from its first packet to its end.
    fn serve(
        self,
        stream: Stream,
        port: Arc<PortContext>,
        peer: Peer,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// What a port is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortState {
    /// It has just been made.
    #[default]
    Opening,
    /// Its certificate is not there or cannot be used.
    AwaitingCertificate {
        /// What is wrong, in a sentence.
        reason: String,
    },
    /// Its address cannot be opened, or is not on this machine.
    AwaitingAddress {
        /// What is wrong, in a sentence.
        reason: String,
    },
    /// It accepts connections.
    Listening,
    /// It is closed.
    Closed,
}

/// What a port shows of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) state: PortState,
    /// Where it accepts, if it does.
    pub(super) address: Option<SocketAddr>,
    /// The certificate that clients see, and what is wrong with the files now.
    pub(super) certificate: SourceState,
}

/// What all ports of a gateway use.
#[derive(Debug)]
pub(super) struct Means<S> {
    pub(super) service: S,
    pub(super) runtime: Handle,
    pub(super) passed: PassedSockets,
    pub(super) certificates: Arc<CertificateStore>,
    /// Who may connect and what they may do.
    pub(super) access: Arc<Access>,
}

/// The task of one port.
#[derive(Debug)]
pub(super) struct Serving<S> {
    pub(super) means: Arc<Means<S>>,
    pub(super) admission: Arc<Admission>,
    pub(super) settings: watch::Receiver<Arc<PortSettings>>,
    pub(super) shown: Arc<watch::Sender<Shown>>,
    accept_errors: Burst,
}

impl<S: Serve> Serving<S> {
    pub(super) fn new(
        means: Arc<Means<S>>,
        admission: Arc<Admission>,
        settings: watch::Receiver<Arc<PortSettings>>,
        shown: Arc<watch::Sender<Shown>>,
    ) -> Self {
        Self {
            means,
            admission,
            settings,
            shown,
            accept_errors: Burst::default(),
        }
    }

    /// Runs until the port ends. The sockets are closed when this returns; the links may still be saying goodbye.
    pub(super) async fn run(mut self) {
        let context = Arc::clone(self.admission.context());
        tokio::select! {
            _ = context.ended() => {}
            never = self.serve() => match never {},
        }
        info!(port = context.endpoint(), "port closed");
        self.shown.send_modify(|shown| {
            shown.state = PortState::Closed;
            shown.address = None;
        });
    }

    async fn serve(&mut self) -> Infallible {
        let mut certificate = match self.tls_settings() {
            Some(tls) => Some(self.await_certificate(tls).await),
            None => None,
        };
        loop {
            let listener = self.open_listener().await;
            self.accept_until_stale(listener, &mut certificate).await;
        }
    }

    fn tls_settings(&self) -> Option<TlsSettings> {
        self.settings.borrow().tls.clone()
    }

    async fn await_certificate(&mut self, mut tls: TlsSettings) -> Certificate {
        loop {
            let mut certificate = self.open_certificate(&tls).await;
            loop {
                let state = certificate.state();
                if state.config.is_some() {
                    self.show_certificate(&certificate);
                    return certificate;
                }
                if let Some(fault) = state.fault {
                    let reason = fault.to_string();
                    self.show_state(PortState::AwaitingCertificate { reason });
                }
                tokio::select! {
                    () = certificate.changed() => {}
                    _ = self.settings.changed() => break,
                }
            }
            tls = self.tls_settings().unwrap_or(tls);
        }
    }

    async fn open_certificate(&self, tls: &TlsSettings) -> Certificate {
        let trust = self.client_trust();
        let port = self.endpoint();
        let source = self.means.certificates.open(port, tls, trust).await;
        Certificate {
            states: source.subscribe(),
            source,
        }
    }

    /// Whose certificates clients may present now.
    fn client_trust(&self) -> Option<Arc<ClientTrust>> {
        let terms = self.admission.context().terms();
        terms.authenticator.client_trust()
    }

    async fn open_listener(&mut self) -> Listener {
        let mut pause = OPEN_PAUSE_MIN;
        let mut said = None;
        loop {
            // Not marked as seen: what else has changed meanwhile is adopted as soon as the port accepts.
            let endpoint = self.settings.borrow().endpoint.clone();
            match Listener::open(&endpoint, &self.means.passed) {
                Ok(listener) => return listener,
                Err(fault) => {
                    let reason = fault.to_string();
                    if said.as_ref() != Some(&reason) {
                        warn!(port = self.endpoint(), "awaiting address: {reason}");
                        said = Some(reason.clone());
                    }
                    self.show_state(PortState::AwaitingAddress { reason });
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(OPEN_PAUSE_MAX);
        }
    }

    /// Accepts until the sockets hear nothing any more.
    async fn accept_until_stale(
        &mut self,
        mut listener: Listener,
        certificate: &mut Option<Certificate>,
    ) {
        let address = listener.local_addr();
        self.shown.send_modify(|shown| shown.address = address);
        self.show_reachability(&mut listener);
        let mut next: Option<Certificate> = None;
        let mut pause = ACCEPT_PAUSE_MIN;
        let mut look = interval(ADDRESS_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let needs_watch = listener.needs_watch();
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, address)) => {
                        pause = ACCEPT_PAUSE_MIN;
                        self.take(socket, address, certificate.as_ref());
                    }
                    Err(error) => {
                        self.note_accept_error(&error);
                        // A connection that ended while it waited is no reason to let the next one wait.
                        if !is_of_one_connection(&error) {
                            sleep(pause).await;
                            pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                        }
                    }
                },
                _ = self.settings.changed() => next = self.adopt_settings(certificate, next).await,
                () = changed(next.as_mut()) => next = self.swap_if_usable(certificate, next),
                () = changed(certificate.as_mut()) => {
                    if let (Some(certificate), None) = (&*certificate, &next) {
                        self.show_certificate(certificate);
                    }
                }
                _ = look.tick(), if needs_watch => {
                    if listener.is_stale() {
                        warn!(port = self.endpoint(), "the network interface or the socket file has changed; opening the port anew");
                        return;
                    }
                    self.show_reachability(&mut listener);
                }
            }
        }
    }

    /// What has changed and is not in the terms of the port: permission bits, the files of the certificate, and whether clients
    /// are asked for theirs.
    async fn adopt_settings(
        &mut self,
        certificate: &mut Option<Certificate>,
        next: Option<Certificate>,
    ) -> Option<Certificate> {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        if let Err(error) = Listener::set_mode(&settings.endpoint) {
            warn!(port = self.endpoint(), %error, "the permission bits of the socket stay as they are");
        }
        let trust = self.client_trust();
        match (&settings.tls, &*certificate) {
            (Some(tls), Some(now)) if !now.source.is_for(self.endpoint(), tls, trust.as_ref()) => {
                let next = self.open_certificate(tls).await;
                self.swap_if_usable(certificate, Some(next))
            }
            (Some(_), Some(now)) => {
                // Back to what it was before the change that `next` stands for.
                self.show_certificate(now);
                None
            }
            _ => next,
        }
    }

    /// Puts the next certificate in the place of the one in use, as soon as it can be used; until then that one stays.
    fn swap_if_usable(
        &self,
        certificate: &mut Option<Certificate>,
        next: Option<Certificate>,
    ) -> Option<Certificate> {
        let next = next?;
        let state = next.state();
        if state.config.is_some() {
            self.show_certificate(&next);
            *certificate = Some(next);
            return None;
        }
        if let Some(fault) = &state.fault {
            error!(
                port = self.endpoint(),
                hint = fault.hint(),
                "the former certificate stays in use: {fault}"
            );
        }
        self.shown
            .send_modify(|shown| shown.certificate.fault = state.fault);
        Some(next)
    }

    /// Takes a connection in and starts its link, or tells it why not, or closes it at once.
    fn take(&self, socket: Socket, address: Option<SocketAddr>, certificate: Option<&Certificate>) {
        let terms = self.admission.context().terms();
        let settings = self.settings.borrow();
        let admitted = self.admission.enter(&terms.limits).and_then(|mut permit| {
            if let (Some(address), false) = (address, settings.proxy_protocol) {
                permit.check_address(address.ip(), &terms, clock::now())?;
            }
            Ok(permit)
        });
        let handshake = handshake(&settings, certificate);
        let runtime = &self.means.runtime;
        let permit = match admitted {
            Ok(permit) => permit,
            Err(reason) => {
                self.admission.note_refused(reason, address);
                let refused = Refused {
                    socket,
                    handshake,
                    reason,
                };
                if let Some(answer) = refused.answer(&self.admission) {
                    runtime.spawn(answer);
                }
                return;
            }
        };
        let service = self.means.service.clone();
        if handshake.is_empty() {
            runtime.spawn(serve_plain(service, socket, address, permit));
        } else {
            runtime.spawn(serve_after(
                service, socket, address, permit, terms, handshake,
            ));
        }
    }

    fn note_accept_error(&self, error: &io::Error) {
        self.admission.context().counters().count_accept_error();
        if let Some(unlogged) = self.accept_errors.note(clock::now()) {
            warn!(port = self.endpoint(), %error, unlogged = several(unlogged), "a connection could not be accepted");
        }
    }

    fn show_reachability(&self, listener: &mut Listener) {
        let state = match listener.check_reachable() {
            Ok(()) => PortState::Listening,
            Err(fault) => PortState::AwaitingAddress {
                reason: fault.to_string(),
            },
        };
        if self.shown.borrow().state != state {
            match &state {
                PortState::AwaitingAddress { reason } => {
                    warn!(port = self.endpoint(), "awaiting address: {reason}");
                }
                _ => info!(port = self.endpoint(), "listening"),
            }
            self.show_state(state);
        }
    }

    fn show_state(&self, state: PortState) {
        self.shown.send_modify(|shown| shown.state = state);
    }

    fn show_certificate(&self, certificate: &Certificate) {
        let state = certificate.state();
        self.shown.send_modify(|shown| shown.certificate = state);
    }

    fn endpoint(&self) -> &str {
        self.admission.context().endpoint()
    }
}

/// What comes before the first packet on a port.
fn handshake(settings: &PortSettings, certificate: Option<&Certificate>) -> Handshake {
    let path = settings.websocket_path.as_ref();
    Handshake {
        proxy_protocol: settings.proxy_protocol,
        tls: certificate.and_then(|certificate| certificate.source.config()),
        websocket: match settings.protocol {
            Protocol::WebSockets => Some(path.map(|path| path.as_str().into())),
            Protocol::Mqtt => None,
        },
    }
}

/// A certificate source as a port sees it.
#[derive(Debug)]
struct Certificate {
    source: Arc<CertificateSource>,
    states: watch::Receiver<SourceState>,
}

impl Certificate {
    fn state(&self) -> SourceState {
        self.states.borrow().clone()
    }

    async fn changed(&mut self) {
        if self.states.changed().await.is_err() {
            // The sender is in `source`, so this does not happen.
            std::future::pending().await
        }
    }
}

async fn changed(certificate: Option<&mut Certificate>) {
    match certificate {
        Some(certificate) => certificate.changed().await,
        None => std::future::pending().await,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn serve_plain<S: Serve>(
    service: S,
    socket: Socket,
    address: Option<SocketAddr>,
    permit: Permit,
) {
    let peer = Peer {
        address,
        ..Peer::default()
    };
    let port = Arc::clone(permit.admission().context());
    let stream = Carrier::Plain(socket).into();
    service.serve(stream, port, peer).await;
    drop(permit);
}

async fn serve_after<S: Serve>(
    service: S,
    socket: Socket,
    address: Option<SocketAddr>,
    mut permit: Permit,
    terms: Arc<PortTerms>,
    handshake: Handshake,
) {
    // On the heap of its own, so that the link that follows does not carry its size for ever.
    let shaken = Box::pin(shake_hands(socket, address, &mut permit, terms, handshake)).await;
    match shaken {
        Shaken::Taken(stream, peer) => {
            let port = Arc::clone(permit.admission().context());
            service.serve(stream, port, peer).await;
        }
        Shaken::Refused(refused) => {
            let admission = Arc::clone(permit.admission());
            // Others may have its place while it is told.
            drop(permit);
            if let Some(answer) = refused.answer(&admission) {
                answer.await;
            }
            return;
        }
        Shaken::Failed => {}
    }
    drop(permit);
}

/// What the handshakes of a connection came to; all but the first has been counted and logged.
enum Shaken {
    Taken(Stream, Peer),
    Refused(Refused),
    Failed,
}

/// The handshakes of the port, within their time.
async fn shake_hands(
    socket: Socket,
    address: Option<SocketAddr>,
    permit: &mut Permit,
    terms: Arc<PortTerms>,
    handshake: Handshake,
) -> Shaken {
    let admission = Arc::clone(permit.admission());
    let mut client = address;
    let outcome = tokio::select! {
        outcome = timeout(
            terms.limits.handshake_timeout,
            run_handshake(socket, &mut client, permit, &terms, handshake),
        ) => outcome,
        _ = admission.context().ended() => return Shaken::Failed,
    };
    match outcome {
        Ok(Ok(Shaken::Refused(refused))) => {
            admission.note_refused(refused.reason, client);
            return Shaken::Refused(refused);
        }
        Ok(Ok(shaken)) => return shaken,
        Ok(Err(fault)) => admission.note_handshake_failed(&fault, client),
        Err(_) => admission.note_handshake_timed_out(client),
    }
    Shaken::Failed
}

async fn run_handshake(
    socket: Socket,
    client: &mut Option<SocketAddr>,
    permit: &mut Permit,
    terms: &PortTerms,
    mut handshake: Handshake,
) -> Result<Shaken, HandshakeFault> {
    let mut peer = Peer {
        address: *client,
        ..Peer::default()
    };
    if handshake.proxy_protocol {
        peer = handshake.read_proxy_header(&socket, *client).await?;
        handshake.proxy_protocol = false;
        *client = peer.address;
        if let Some(address) = peer.address
            && let Err(reason) = permit.check_address(address.ip(), terms, clock::now())
        {
            return Ok(Shaken::Refused(Refused {
                socket,
                handshake,
                reason,
            }));
        }
    }
    let stream = handshake.complete(socket, &mut peer).await?;
    Ok(Shaken::Taken(stream, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends at once.
    #[derive(Clone)]
    struct Nothing;

    impl Serve for Nothing {
        async fn serve(self, _: Stream, _: Arc<PortContext>, _: Peer) {}
    }

    #[tokio::test]
    async fn what_a_link_carries_besides_itself_is_small() {
        let settings = crate::config::Settings::default();
        let settings = settings.ports().next().unwrap();
        let gate = Arc::new(crate::net::admission::Gate::new(1));
        let context = Arc::new(PortContext::new(settings, &Access::for_tests()));
        let admission = Arc::new(Admission::new(gate, Arc::clone(&context)));
        let terms = context.terms();
        let permit = admission.enter(&terms.limits).unwrap();
        let (socket, _) = tokio::net::UnixStream::pair().unwrap();
        let socket = Socket::Unix(socket);
        let future = serve_after(Nothing, socket, None, permit, terms, Handshake::default());
        let size = std::mem::size_of_val(&future);
        future.await;
        assert!(size <= 512, "{size}");
    }
}
