//! The server: connections in, replies out. Everything a client can make grow is bounded.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    handle::AgentHandle,
    http::{
        HttpConfig,
        api::Api,
        error::ApiError,
        io::WriteDeadline,
        metrics::{HttpCounter, HttpCounters},
        reply::Reply,
    },
};

/// How long to leave the system alone when it cannot hand over a connection (no descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A body that is too large is thrown away for so long, so that its sender reads the answer.
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// ... and up to so many times its limit.
const DISCARD_FACTOR: usize = 8;
/// hyper needs this much buffer at least.
const MIN_HEAD_BYTES: usize = 8192;

/// A running HTTP server. Dropping it stops it without waiting for answers under way.
#[derive(Debug)]
pub struct HttpServer {
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    counters: Arc<HttpCounters>,
}

impl HttpServer {
    /// Serves `handle` on `listeners`. Must be called within a tokio runtime.
    pub fn start(handle: AgentHandle, listeners: Vec<TcpListener>, config: HttpConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(config.max_connections));
        let api = Arc::new(Api::new(handle, config, stopped.clone()));
        let counters = Arc::clone(&api.counters);
        let listeners = listeners.into_iter().map(|listener| {
            let (api, permits) = (Arc::clone(&api), Arc::clone(&permits));
            tokio::spawn(listen(listener, api, permits, stopped.clone()))
        });
        Self { stop, listeners: listeners.collect(), counters }
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Arc<HttpCounters> {
        &self.counters
    }

    /// Accepts no more, ends blocking queries, lets answers under way go out within
    /// [`HttpConfig::shutdown_grace`], then drops what is left.
    pub async fn shutdown(self) {
        // Nobody listens any more: then there is nothing to stop.
        let _ = self.stop.send(true);
        for listener in self.listeners {
            // It cannot fail other than by a panic, which the log has.
            let _ = listener.await;
        }
    }
}

/// Serves streams that somebody else accepted, from sockets that are not the system's.
pub struct HttpStreams {
    api: Arc<Api>,
    /// Never sent to: the streams end with their clients, or are dropped.
    _stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl fmt::Debug for HttpStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStreams").finish_non_exhaustive()
    }
}

impl HttpStreams {
    /// Answers from `handle`. The number of connections is the caller's to bound.
    pub fn new(handle: AgentHandle, config: HttpConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { api: Arc::new(Api::new(handle, config, stopped.clone())), _stop: stop, stopped }
    }

    /// Serves one stream until either end closes it.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        serve_stream(stream, &self.api, self.stopped.clone()).await;
    }
}

async fn listen(
    listener: TcpListener,
    api: Arc<Api>,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        let accepted = tokio::select! {
            () = until_stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                api.counters.count(HttpCounter::AcceptErrors);
                tracing::warn!("http: cannot accept a connection: {e}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => {
                api.counters.count(HttpCounter::Connections);
                connections.spawn(serve(stream, Arc::clone(&api), permit, stopped.clone()));
            }
            Err(_) => api.counters.count(HttpCounter::ConnectionsRefused),
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is dropped with the set.
    let _ = timeout(api.config().shutdown_grace, all).await;
}

async fn serve(
    stream: TcpStream,
    api: Arc<Api>,
    _permit: OwnedSemaphorePermit,
    stop: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill a packet only delays them. Without it they still go out.
    let _ = stream.set_nodelay(true);
    serve_stream(stream, &api, stop).await;
}

async fn serve_stream<S>(stream: S, api: &Api, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = api.config();
    let head_bytes = config.head_bytes.max(MIN_HEAD_BYTES);
    let io = TokioIo::new(WriteDeadline::new(stream, config.write_timeout));
    let service = service_fn(|request| respond(api, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_header_size(head_bytes)
        .max_buf_size(head_bytes)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = until_stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = result {
        api.counters.count(HttpCounter::ConnectionsBroken);
        tracing::debug!("http: a connection ended early: {e}");
    }
}

/// Returns once the server is to stop, or is gone.
pub(crate) async fn until_stopped(stop: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live on: it would lock the channel.
    let _ = stop.wait_for(|&stop| stop).await.map(drop);
}

async fn respond(
    api: &Api,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let config = api.config();
    let reply = match collect(body, config.body_bytes, config.body_timeout).await {
        Ok(body) => api.answer(&head.method, &head.uri, &body).await,
        Err(e) => {
            api.counters.count(HttpCounter::BodiesRefused);
            let reply = Reply::from(e).closing();
            api.count(&reply);
            reply
        }
    };
    Ok(reply.into())
}

/// Reads a body to its end. What comes beyond the limit is not kept.
async fn collect<B>(body: B, limit_bytes: usize, within: Duration) -> Result<Vec<u8>, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Vec::new());
    }
    let too_large = ApiError::BodyTooLarge(limit_bytes);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit_bytes.saturating_mul(DISCARD_FACTOR) {
        return Err(too_large);
    }
    let mut deadline = Instant::now() + within;
    let (mut body, mut bytes, mut kept) = (body, 0usize, Vec::new());
    loop {
        match timeout_at(deadline, body.frame()).await {
            Err(_) if bytes > limit_bytes => return Err(too_large),
            Err(_) => return Err(ApiError::BodyTimeout),
            Ok(None) if bytes > limit_bytes => return Err(too_large),
            Ok(None) => return Ok(kept),
            Ok(Some(Err(_))) => return Err(ApiError::BodyBroken),
            Ok(Some(Ok(frame))) => {
                let before = bytes;
                let data = frame.into_data().unwrap_or_default();
                bytes = bytes.saturating_add(data.len());
                if bytes > limit_bytes.saturating_mul(DISCARD_FACTOR) {
                    return Err(too_large);
                }
                if bytes <= limit_bytes {
                    kept.extend_from_slice(&data);
                } else if before <= limit_bytes {
                    kept = Vec::new();
                    deadline = deadline.min(Instant::now() + DISCARD_TIME);
                }
            }
        }
    }
}
