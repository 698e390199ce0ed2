//! A response before it meets the wire: status, body, and what its headers say.

use std::io;

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use crate::http::error::ApiError;

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// No blanks.
    Compact,
    /// `?pretty`: four spaces, and a newline at the end.
    Pretty,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// JSON.
    Json,
    /// Text for people.
    Text,
    /// The text format of OpenMetrics.
    OpenMetrics,
    /// No body.
    Empty,
}

/// What the headers of a read say of the view behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadMeta {
    pub(crate) index: u64,
    pub(crate) known_leader: bool,
}

/// A whole response. Cloning it shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
    pub(crate) body: Bytes,
    pub(crate) meta: Option<ReadMeta>,
    pub(crate) allow: Option<&'static str>,
    /// Close the connection behind it.
    pub(crate) close: bool,
}

impl Reply {
    /// A status code and nothing else.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let (content, body) = (Content::Empty, Bytes::new());
        Self { status, content, body, meta: None, allow: None, close: false }
    }

    /// 200 with a text.
    pub(crate) fn text(content: Content, text: impl Into<Bytes>) -> Self {
        Self { content, body: text.into(), ..Self::empty(StatusCode::OK) }
    }

    /// 200 with JSON.
    pub(crate) fn json<T: Serialize>(value: &T, layout: Layout) -> Self {
        match to_json(value, layout) {
            Ok(bytes) => Self::text(Content::Json, bytes),
            Err(e) => ApiError::Internal(e.to_string()).into(),
        }
    }

    /// The same, then close the connection.
    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}

impl From<ApiError> for Reply {
    fn from(e: ApiError) -> Self {
        Self { status: e.status(), ..Self::text(Content::Text, e.to_string()) }
    }
}

fn to_json<T: Serialize>(value: &T, layout: Layout) -> Result<Vec<u8>, serde_json::Error> {
    match layout {
        Layout::Compact => serde_json::to_vec(value),
        Layout::Pretty => {
            let mut out = Vec::new();
            let format = PrettyFormatter::with_indent(b"    ");
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, format))?;
            io::Write::write_all(&mut out, b"\n").map_err(serde_json::Error::io)?;
            Ok(out)
        }
    }
}

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");

impl From<Reply> for Response<Full<Bytes>> {
    fn from(reply: Reply) -> Self {
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        let content = match reply.content {
            Content::Json => Some("application/json"),
            Content::Text => Some("text/plain; charset=utf-8"),
            Content::OpenMetrics => {
                Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
            Content::Empty => None,
        };
        if let Some(content) = content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        if let Some(meta) = reply.meta {
            let leader = if meta.known_leader { "true" } else { "false" };
            headers.insert(INDEX, HeaderValue::from(meta.index.max(1)));
            headers.insert(KNOWN_LEADER, HeaderValue::from_static(leader));
            headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
        }
        if let Some(allow) = reply.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if reply.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
