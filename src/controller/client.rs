//! The API server of the cluster, as far as the controller needs it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::fault::ApiFault;
use super::lines::Lines;
use crate::auth::{HttpClient, HttpRequest, read_secret};

/// Time for one request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of an answer: a page of a list, or one object.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Bytes of what the API server says about a fault.
const FAULT_BYTES_MAX: usize = 16 << 10;

/// Who changes objects, for server-side apply.
const FIELD_MANAGER: &str = "fieldgate";

const JSON: &str = "application/json";

/// Names and versions of objects, without what is in them.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// The same of a watch, which sends one object at a time.
const METADATA_EVENTS: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What is asked for of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
}

/// A client of an API server. It tries nothing again: who asks knows what can wait. Token and authority are read again for each request, because both are replaced as time goes.
#[derive(Debug)]
pub(super) struct ApiClient {
    http: HttpClient,
    /// Path that is put in front, for a server behind a gateway.
    prefix: Box<str>,
    token: PathBuf,
}

impl ApiClient {
    pub(super) fn new(http: HttpClient, prefix: &str, token: PathBuf) -> Self {
        Self {
            http,
            prefix: prefix.trim_end_matches('/').into(),
            token,
        }
    }

    /// An object, or a page of a list.
    pub(super) async fn get(&self, path: &str, detail: Detail) -> Result<Value, ApiFault> {
        let body = self.get_text(path, detail).await?;
        serde_json::from_slice(&body).map_err(|_| ApiFault::Answer("something that is no object"))
    }

    /// An object as it is written.
    pub(super) async fn get_text(&self, path: &str, detail: Detail) -> Result<Bytes, ApiFault> {
        let accept = match detail {
            Detail::Whole => JSON,
            Detail::Metadata => METADATA,
        };
        self.call(Method::GET, path, accept, None).await
    }

    /// Makes an object, or makes it what it should be.
    pub(super) async fn apply(&self, path: &str, object: &Value) -> Result<(), ApiFault> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        let body = ("application/apply-patch+yaml", object);
        self.call(Method::PATCH, &path, JSON, Some(body))
            .await
            .map(drop)
    }

    /// Changes fields of an object.
    pub(super) async fn merge(&self, path: &str, change: &Value) -> Result<(), ApiFault> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}");
        let body = ("application/merge-patch+json", change);
        self.call(Method::PATCH, &path, JSON, Some(body))
            .await
            .map(drop)
    }

    /// Makes an object that is not there.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<(), ApiFault> {
        self.call(Method::POST, path, JSON, Some((JSON, object)))
            .await
            .map(drop)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), ApiFault> {
        self.call(Method::DELETE, path, JSON, None).await.map(drop)
    }

    /// Begins to watch: one line for each change.
    pub(super) async fn watch(&self, path: &str, detail: Detail) -> Result<Lines, ApiFault> {
        let accept = match detail {
            Detail::Whole => JSON,
            Detail::Metadata => METADATA_EVENTS,
        };
        let opened = self.open(Method::GET, path, accept, None);
        let response = timeout(REQUEST_TIMEOUT, opened).await;
        let response = response.map_err(|_| ApiFault::Timeout)??;
        if response.status().is_success() {
            return Ok(Lines::new(response.into_body()));
        }
        Err(in_time(fault_of(response)).await)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Bytes, ApiFault> {
        let called = self.call_once(method, path, accept, body);
        let answer = timeout(REQUEST_TIMEOUT, called).await;
        answer.unwrap_or(Err(ApiFault::Timeout))
    }

    async fn call_once(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Bytes, ApiFault> {
        let response = self.open(method, path, accept, body).await?;
        if !response.status().is_success() {
            return Err(fault_of(response).await);
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(
            |error| match error.is::<http_body_util::LengthLimitError>() {
                true => ApiFault::TooLarge,
                false => ApiFault::Unreachable(format!("the API server broke off: {error}")),
            },
        )?;
        Ok(body.to_bytes())
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Response<Incoming>, ApiFault> {
        let unusable = |text: &str| ApiFault::Unreachable(text.to_owned());
        let file = self.token.clone();
        let token = spawn_blocking(move || read_secret(&file)).await;
        let token = token
            .map_err(|_| unusable("the gateway is stopping"))?
            .map_err(|text| ApiFault::Unreachable(format!("the token of the gateway: {text}")))?;
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| unusable("the token of the gateway is no text"))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let mut bytes = Bytes::new();
        if let Some((media_type, object)) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            bytes = object.to_string().into();
        }
        let request = HttpRequest {
            method,
            path: format!("{}{path}", self.prefix),
            headers,
            body: bytes,
        };
        Ok(self.http.open(&request).await?)
    }
}

/// A client of a server that is not there.
#[cfg(test)]
pub(super) fn nobody() -> ApiClient {
    let server = crate::config::HttpServer {
        url: "http://127.0.0.1:1".try_into().expect("a URL"),
        ca: None,
        client_certificate: None,
        headers: std::collections::BTreeMap::new(),
    };
    ApiClient::new(HttpClient::new(&server), "", PathBuf::new())
}

/// What an answer says that is none of success.
async fn fault_of(response: Response<Incoming>) -> ApiFault {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, FAULT_BYTES_MAX).collect().await;
    // A fault that is too long to read is one by its status alone.
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let retry_after = head.headers.get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok());
    ApiFault::of_status(head.status.as_u16(), retry_after, &body)
}

async fn in_time(fault: impl Future<Output = ApiFault>) -> ApiFault {
    timeout(REQUEST_TIMEOUT, fault)
        .await
        .unwrap_or(ApiFault::Timeout)
}
