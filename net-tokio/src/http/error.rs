//! What a request can be refused for, and the status code of each.

use hyper::StatusCode;
use quorate_core::CommandError;

use crate::{handle::RequestError, http::query::DurationError, user::FilterError};

/// Why a request was not carried out. Nothing has changed, but for [`ApiError::Keyring`], where
/// some members may have done it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// A broken `%xx`, or not UTF-8.
    #[error("the parameter '{0}' has a broken % escape or is not UTF-8")]
    Encoding(String),
    /// More pairs in the query string than anybody needs.
    #[error("more than {0} parameters in the query string")]
    TooManyParameters(usize),
    /// `index` is not a number.
    #[error("Invalid index '{0}': a number of 0 or more is expected")]
    Index(String),
    /// `wait` is not a duration.
    #[error("Invalid wait time '{text}': {cause} (write it like 10s or 1m30s)")]
    Wait {
        /// What was given.
        text: String,
        /// What is wrong with it.
        cause: DurationError,
    },
    /// `timeout` is not a duration.
    #[error("Invalid timeout '{text}': {cause} (write it like 500ms or 10s)")]
    Timeout {
        /// What was given.
        text: String,
        /// What is wrong with it.
        cause: DurationError,
    },
    /// An event's filter cannot be used.
    #[error("{0}")]
    EventFilter(#[from] FilterError),
    /// The node refused an event or query.
    #[error("{0}")]
    Event(CommandError),
    /// `stale` and `consistent` together.
    #[error("'stale' and 'consistent' exclude each other: give one of them")]
    StaleConsistent,
    /// `filter` is not there yet.
    #[error("'filter' is not supported yet: leave it out and filter the answer")]
    Filter,
    /// There is no pool of servers across datacenters.
    #[error("'wan' is not supported: there is no pool across datacenters")]
    Wan,
    /// A segment that does not exist.
    #[error("there is no network segment '{0}': leave 'segment' out")]
    Segment(String),
    /// A metrics format that does not exist.
    #[error("the format '{0}' is not known: leave it out for JSON, or ask for 'prometheus'")]
    Format(String),
    /// Another datacenter than ours.
    #[error("No path to datacenter")]
    Datacenter,
    /// The last part of the path is empty.
    #[error("Missing {0} at the end of the path")]
    MissingParameter(String),
    /// Not one of the health states.
    #[error("'{given}' is not a health state: any of {known} is expected")]
    HealthState {
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// A path of Consul's that leads nowhere here.
    #[error("'{0}' is not available: this agent has members, nodes, events and coordinates only")]
    Elsewhere(String),
    /// The method has no handler at this path.
    #[error("method {0} not allowed")]
    Method(String),
    /// The request's body is larger than allowed.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The request's body did not come in time.
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// The request's body broke off.
    #[error("the request's body is broken")]
    BodyBroken,
    /// No address of a join worked; the text has one entry per address.
    #[error("{0}")]
    Join(String),
    /// The configuration was not taken; the old one stays.
    #[error("{0}")]
    Reload(String),
    /// A body without a key that can be one.
    #[error("{0}")]
    Key(String),
    /// Not all members did what was asked of their keyring.
    #[error("{0}")]
    Keyring(String),
    /// The node refused a command.
    #[error("agent: {0}")]
    Command(CommandError),
    /// A text that cannot be a name, so it is nobody's.
    #[error("agent: No node found with name '{0}'")]
    UnknownName(String),
    /// The agent ended meanwhile.
    #[error("the agent is shutting down")]
    Stopped,
    /// The node did not say in time what was asked of it.
    #[error("the agent is busy and did not answer in time: ask again")]
    Busy,
    /// An answer could not be put together.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ApiError {
    /// The status code to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Elsewhere(_) => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTooLarge(_) | Self::Event(CommandError::EventTooLarge(_)) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Event(CommandError::EventName(_)) => StatusCode::BAD_REQUEST,
            Self::Event(CommandError::EventsBusy(_)) => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Datacenter
            | Self::Join(_)
            | Self::Keyring(_)
            | Self::Command(_)
            | Self::Event(_)
            | Self::Reload(_)
            | Self::UnknownName(_)
            | Self::Stopped
            | Self::Busy
            | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Encoding(_)
            | Self::Key(_)
            | Self::TooManyParameters(_)
            | Self::Index(_)
            | Self::Wait { .. }
            | Self::Timeout { .. }
            | Self::EventFilter(_)
            | Self::StaleConsistent
            | Self::Filter
            | Self::Wan
            | Self::Segment(_)
            | Self::Format(_)
            | Self::MissingParameter(_)
            | Self::HealthState { .. }
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(e: RequestError) -> Self {
        match e {
            RequestError::Command(e) => Self::Command(e),
            RequestError::Join(e) => Self::Join(e.to_string()),
            RequestError::OutcomeLost => Self::Keyring(e.to_string()),
            RequestError::Stopped => Self::Stopped,
        }
    }
}
