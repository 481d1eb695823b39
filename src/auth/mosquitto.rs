//! What HTTP servers were written for: the questions of mosquitto-auth-plug and mosquitto-go-auth.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::acl::TopicAccess;
use super::backend::{
    Answered, Backend, Fault, HttpClient, Key, Reply, Request, body_of, form, json,
};
use crate::config::{HttpMethod, HttpParams, HttpProtocol, HttpResponse, HttpServer, HttpSettings};

/// Asks a server as the plug-ins do.
#[derive(Debug)]
pub(super) struct Plugin {
    client: HttpClient,
    protocol: HttpProtocol,
    base: Box<str>,
    pub(super) backend: Backend<bool>,
}

/// What a server is asked.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    /// Whether a user has this password.
    User {
        username: &'a str,
        password: &'a [u8],
        client_id: &'a str,
    },
    /// Whether a user may do everything.
    Superuser { username: &'a str },
    /// Whether a user may do something with a topic.
    Topic {
        username: &'a str,
        client_id: &'a str,
        topic: &'a str,
        access: TopicAccess,
    },
}

/// The JSON of mosquitto-go-auth, its fields in the order in which Go writes them.
#[derive(Serialize)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    acc: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clientid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    username: &'a str,
}

#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    ok: bool,
}

impl Plugin {
    pub(super) fn new(kind: &'static str, settings: &HttpSettings) -> Self {
        Self {
            client: HttpClient::new(&settings.server),
            protocol: settings.protocol,
            base: base(&settings.server),
            backend: Backend::new(kind, &settings.server, &settings.backend),
        }
    }

    /// Asks, or remembers. The answer says for how long it is good.
    pub(super) async fn ask(
        &self,
        path: &str,
        question: Question<'_>,
    ) -> Result<Answered<bool>, Fault> {
        let request = self.request(path, question)?;
        let key = self.key(&request);
        let (client, protocol) = (self.client.clone(), self.protocol);
        let asked = self.backend.ask(key, move || {
            let (client, request) = (client.clone(), request.clone());
            async move { judge(protocol, &client.send(&request).await?) }
        });
        asked.await
    }

    /// Whether passwords must be text.
    pub(super) fn writes_text(&self) -> bool {
        !matches!(self.protocol, HttpProtocol::AuthPlug)
    }

    /// A question is remembered by all that is sent of it.
    fn key(&self, request: &Request) -> Option<Key> {
        self.backend.key(&[request.path.as_bytes(), &request.body])
    }

    fn request(&self, path: &str, question: Question<'_>) -> Result<Request, Fault> {
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{}{slash}{path}", self.base);
        match self.protocol {
            HttpProtocol::AuthPlug => Ok(auth_plug(path, question)),
            HttpProtocol::GoAuth { params, method, .. } => go_auth(path, question, params, method),
        }
    }
}

/// The five fields of mosquitto-auth-plug, always all of them and in this order, with the user name and password as HTTP
/// Basic authentication besides, because libcurl was given them.
fn auth_plug(path: String, question: Question<'_>) -> Request {
    let (username, password, topic, acc, client_id): (_, &[u8], _, _, _) = match question {
        Question::User {
            username, password, ..
        } => (username, password, "", "-1", ""),
        Question::Superuser { username } => (username, b"", "", "-1", ""),
        Question::Topic {
            username,
            client_id,
            topic,
            access,
        } => (username, b"", topic, acc_text(access), client_id),
    };
    let body = form::encode(&[
        ("username", username.as_bytes()),
        ("password", password),
        ("topic", topic.as_bytes()),
        ("acc", acc.as_bytes()),
        ("clientid", client_id.as_bytes()),
    ]);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form::MEDIA_TYPE));
    let basic = basic(username, password);
    if let Ok(mut basic) = HeaderValue::from_str(&basic) {
        basic.set_sensitive(true);
        headers.insert(AUTHORIZATION, basic);
    }
    Request {
        method: Method::POST,
        path,
        headers,
        body: body_of(body),
    }
}

fn basic(username: &str, password: &[u8]) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(Vec::with_capacity(username.len() + 1 + password.len()));
    pair.extend(username.as_bytes());
    pair.push(b':');
    pair.extend(password);
    let mut text = Zeroizing::new(String::with_capacity(6 + BASE64.encode_len(pair.len())));
    text.push_str("Basic ");
    BASE64.encode_append(&pair, &mut text);
    text
}

fn go_auth(
    path: String,
    question: Question<'_>,
    params: HttpParams,
    method: HttpMethod,
) -> Result<Request, Fault> {
    let fields = fields(question)?;
    let (media_type, text) = match params {
        HttpParams::Json => (json::MEDIA_TYPE, json::encode(&fields)),
        HttpParams::Form => (form::MEDIA_TYPE, fields.form()),
    };
    let method = match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Get => Method::GET,
        HttpMethod::Put => Method::PUT,
    };
    let mut headers = HeaderMap::new();
    // The plug-in sends JSON as the body of a GET as well, and knows no form with GET.
    if method == Method::GET && params == HttpParams::Form {
        let query = String::from_utf8_lossy(&text);
        return Ok(Request {
            method,
            path: format!(
                "{path}{}{query}",
                if path.contains('?') { '&' } else { '?' }
            ),
            headers,
            body: Bytes::new(),
        });
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(Request {
        method,
        path,
        headers,
        body: body_of(text),
    })
}

fn fields(question: Question<'_>) -> Result<Fields<'_>, Fault> {
    let nothing = |username| Fields {
        acc: None,
        clientid: None,
        password: None,
        topic: None,
        username,
    };
    Ok(match question {
        Question::User {
            username,
            password,
            client_id,
        } => Fields {
            clientid: Some(client_id),
            password: Some(std::str::from_utf8(password).map_err(|_| NOT_TEXT)?),
            ..nothing(username)
        },
        Question::Superuser { username } => nothing(username),
        Question::Topic {
            username,
            client_id,
            topic,
            access,
        } => Fields {
            acc: Some(acc(access)),
            clientid: Some(client_id),
            topic: Some(topic),
            ..nothing(username)
        },
    })
}

/// A password that cannot be written in JSON. Callers look for it before they ask.
const NOT_TEXT: Fault = Fault::Answer("nothing, because the password is no text");

impl Fields<'_> {
    fn form(&self) -> Zeroizing<Vec<u8>> {
        let acc = self.acc.map(|acc| acc.to_string());
        let all = [
            ("acc", acc.as_deref()),
            ("clientid", self.clientid),
            ("password", self.password),
            ("topic", self.topic),
            ("username", Some(self.username)),
        ];
        let given = all.iter().filter_map(|(name, value)| {
            let value = (*value)?;
            Some((*name, value.as_bytes()))
        });
        form::encode(&given.collect::<Vec<_>>())
    }
}

/// The numbers of mosquitto.
fn acc(access: TopicAccess) -> u8 {
    match access {
        TopicAccess::Read => 1,
        TopicAccess::Write => 2,
        TopicAccess::Subscribe => 4,
    }
}

fn acc_text(access: TopicAccess) -> &'static str {
    match access {
        TopicAccess::Read => "1",
        TopicAccess::Write => "2",
        TopicAccess::Subscribe => "4",
    }
}

/// A status of 2xx is a yes, where the body has nothing to say. Everything else is a no; statuses that are faults never
/// come here.
fn judge(protocol: HttpProtocol, reply: &Reply) -> Result<bool, Fault> {
    if !reply.status.is_success() {
        return Ok(false);
    }
    match protocol {
        HttpProtocol::AuthPlug
        | HttpProtocol::GoAuth {
            response: HttpResponse::Status,
            ..
        } => Ok(true),
        HttpProtocol::GoAuth {
            response: HttpResponse::Text,
            ..
        } => Ok(&*reply.body == b"ok"),
        HttpProtocol::GoAuth {
            response: HttpResponse::Json,
            ..
        } => serde_json::from_slice::<Verdict>(&reply.body)
            .map(|verdict| verdict.ok)
            .map_err(|_| Fault::Answer("something that is not the JSON of mosquitto-go-auth")),
    }
}

/// Users that may do everything: by the settings, or because the server says so.
#[derive(Debug)]
pub(super) struct Superusers {
    globs: Vec<Box<str>>,
    path: Option<Box<str>>,
    /// For how long an answer is good that nobody had to be asked for.
    own_time: Duration,
}

impl Superusers {
    pub(super) fn new(settings: &HttpSettings) -> Self {
        Self {
            globs: settings.superusers.clone(),
            path: settings.superuser_path.clone(),
            own_time: settings.backend.cache_time,
        }
    }

    /// Whether a user is one of them.
    pub(super) async fn ask(
        &self,
        plugin: &Plugin,
        username: &str,
    ) -> Result<Answered<bool>, Fault> {
        let is_listed = self.globs.iter().any(|glob| matches(glob, username));
        match &self.path {
            Some(path) if !is_listed => plugin.ask(path, Question::Superuser { username }).await,
            _ => Ok(Answered {
                verdict: is_listed,
                good_for: self.own_time,
            }),
        }
    }
}

/// Whether a text is what a pattern with `*` and `?` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on if what follows the last `*` does not fit: it takes one character more then.
    let mut star = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((pattern.clone(), here.clone()));
                text = here;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {}
            _ => {
                let Some((after, mut taken)) = star.take() else {
                    return false;
                };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), taken.clone());
                star = Some((after, taken));
            }
        }
    }
}

/// What stands in front of the paths.
fn base(server: &HttpServer) -> Box<str> {
    server.url.path.trim_end_matches('/').into()
}

#[cfg(test)]
#[path = "mosquitto_tests.rs"]
pub(super) mod tests;
