//! From method and path to a reply: routing, blocking queries, commands. No sockets here.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Method, StatusCode, Uri};
use quorate_core::{JoinError, Name, Stats};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

use crate::{
    address::{AddressError, parse_join_addr},
    handle::{AgentHandle, RequestError},
    http::{
        HttpConfig, agent,
        cache::Cache,
        coordinate,
        error::ApiError,
        event,
        host::HostInfo,
        keyring,
        metrics::{CounterSource, HttpCounter, HttpCounters, Snapshot, since_epoch},
        query::{Blocking, JITTER_DIVISOR, Query},
        reply::{ReadMeta, Reply},
        router::{Action, Call, Handler, Read, Target, decode_param, find},
        server::until_stopped,
    },
    view::View,
};

/// How long the node may take to hand out its counters.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);
/// Parameters that do not change what a read answers, only when and how it is laid out.
const LAYOUT_AND_TIME: [&str; 7] =
    ["pretty", "index", "wait", "dc", "stale", "consistent", "token"];

/// All that answering needs.
pub(crate) struct Api {
    handle: AgentHandle,
    config: HttpConfig,
    pub(crate) counters: Arc<HttpCounters>,
    sources: Vec<Arc<dyn CounterSource>>,
    cache: Cache,
    known: coordinate::Known,
    started: Instant,
    stop: watch::Receiver<bool>,
}

impl Api {
    /// `stop` turns true when blocking queries are to end.
    pub(crate) fn new(
        handle: AgentHandle,
        config: HttpConfig,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let counters = Arc::new(HttpCounters::default());
        let mut sources: Vec<Arc<dyn CounterSource>> = vec![Arc::clone(&counters) as _];
        sources.extend(config.counters.iter().cloned());
        let (cache, known, started) = (Cache::default(), Default::default(), Instant::now());
        Self { handle, config, counters, sources, cache, known, started, stop }
    }

    /// The limits in force.
    pub(crate) fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// Answers a request with its body.
    pub(crate) async fn answer(&self, method: &Method, uri: &Uri, body: &[u8]) -> Reply {
        let reply = self.route(method, uri, body).await.unwrap_or_else(Reply::from);
        self.count(&reply);
        reply
    }

    /// Counts an answer by its class.
    pub(crate) fn count(&self, reply: &Reply) {
        self.counters.count(HttpCounter::Requests);
        if reply.status.is_client_error() {
            self.counters.count(HttpCounter::ClientErrors);
        } else if reply.status.is_server_error() {
            self.counters.count(HttpCounter::ServerErrors);
        }
    }

    async fn route(&self, method: &Method, uri: &Uri, body: &[u8]) -> Result<Reply, ApiError> {
        let path = uri.path();
        let (resource, raw) = match find(path) {
            Target::Found(resource, raw) => (resource, raw),
            Target::Incomplete(name) => return Err(ApiError::MissingParameter(name.to_owned())),
            Target::Elsewhere => return Err(ApiError::Elsewhere(path.to_owned())),
            Target::Unknown => return Ok(Reply::empty(StatusCode::NOT_FOUND)),
        };
        let allow = Some(resource.allow);
        if method == Method::OPTIONS {
            return Ok(Reply { allow, ..Reply::empty(StatusCode::OK) });
        }
        let Some(route) = resource.route(method) else {
            return Ok(Reply { allow, ..ApiError::Method(method.to_string()).into() });
        };
        let query = Query::parse(uri.query().unwrap_or_default())?;
        let param = decode_param(raw).ok_or_else(|| ApiError::Encoding(raw.to_owned()))?;
        let call = Call { param: &param, query: &query, body };
        if query.get("filter").is_some() {
            return Err(ApiError::Filter);
        }
        match route.handler {
            Handler::Plain(read) => Ok(self.read(read, &self.handle.view(), path, &call)),
            Handler::Status(read) => {
                self.check_datacenter(&query)?;
                Ok(self.read(read, &self.handle.view(), path, &call))
            }
            Handler::Blocking(read) => {
                self.check_datacenter(&query)?;
                let view = match query.blocking()? {
                    Some(blocking) => self.wait(blocking).await,
                    None => self.handle.view(),
                };
                let view = match query.get("near") {
                    Some(near) => self.nearest_first(view, near).await,
                    None => view,
                };
                let known_leader = view.leader().is_some();
                let meta = Some(ReadMeta { index: view.index, known_leader });
                Ok(Reply { meta, ..self.read(read, &view, path, &call) })
            }
            Handler::Action(action) => self.act(action, &call).await,
        }
    }

    /// Who is listed does not depend on coordinates: without any the order stays.
    async fn nearest_first(&self, view: Arc<View>, near: &str) -> Arc<View> {
        let Ok(known) = self.known.get(&self.handle).await else { return view };
        let sorted = coordinate::nearest_first(&view, &self.handle.info, &known.1, near);
        sorted.map_or(view, Arc::new)
    }

    fn check_datacenter(&self, query: &Query) -> Result<(), ApiError> {
        if query.has("stale") && query.has("consistent") {
            return Err(ApiError::StaleConsistent);
        }
        match query.get("dc") {
            Some(dc) if !dc.eq_ignore_ascii_case(self.handle.info.label.as_str()) => {
                Err(ApiError::Datacenter)
            }
            _ => Ok(()),
        }
    }

    fn read(&self, read: Read, view: &Arc<View>, path: &str, call: &Call<'_>) -> Reply {
        let make = || read(view, &self.handle.info, call);
        if call.query.only(&LAYOUT_AND_TIME) {
            self.cache.reply(view, path, call.layout(), make)
        } else {
            make()
        }
    }

    /// The view once its index is above the one the client knows, the time is up, or the agent
    /// ends. A client that knows a higher index than ours knew an earlier run: it starts anew.
    async fn wait(&self, blocking: Blocking) -> Arc<View> {
        let view = self.handle.view();
        if blocking.index != view.index {
            return view;
        }
        let wait = blocking.wait + jitter(blocking.wait);
        let mut stop = self.stop.clone();
        tokio::select! {
            view = self.handle.changed_since(blocking.index, wait) => view,
            () = until_stopped(&mut stop) => self.handle.view(),
        }
    }

    async fn act(&self, action: Action, call: &Call<'_>) -> Result<Reply, ApiError> {
        match action {
            Action::Myself => {
                let (stats, known) = (self.stats().await?, self.known.get(&self.handle).await?);
                let own = known.1.of(self.handle.info.id).copied().unwrap_or_default();
                Ok(agent::myself(&self.handle.view(), &self.handle.info, &stats, &own, call))
            }
            Action::Metrics => {
                let (stats, view) = (self.stats().await?, self.handle.view());
                let up = self.started.elapsed();
                Ok(Snapshot::new(&view, &stats, &self.sources, since_epoch(), up).reply(call))
            }
            Action::Coordinates => {
                self.check_datacenter(call.query)?;
                let view = match call.query.blocking()? {
                    Some(blocking) => self.wait(blocking).await,
                    None => self.handle.view(),
                };
                let known = self.known.get(&self.handle).await?;
                Ok(coordinate::nodes(&view, &known.1, call))
            }
            Action::Host => {
                Ok(Reply::json(&HostInfo::collect(self.config.data_dir.as_deref()), call.layout()))
            }
            Action::Join => self.join(call).await,
            Action::Leave => {
                self.handle.leave().await?;
                Ok(Reply::empty(StatusCode::OK).closing())
            }
            Action::Reload => self.reload().await,
            Action::ForceLeave => self.force_leave(call).await,
            Action::Query => event::query(&self.handle, call).await,
            Action::Fire => {
                self.check_datacenter(call.query)?;
                event::fire(&self.handle, call).await
            }
            Action::Events => {
                let blocking = call.query.blocking()?;
                let most = blocking.map_or(Duration::ZERO, |b| b.wait + jitter(b.wait));
                let mut stop = self.stop.clone();
                Ok(event::list(&self.handle, call, (blocking, most), &mut stop).await)
            }
            Action::Keyring(verb) => {
                self.check_datacenter(call.query)?;
                keyring::act(&self.handle, verb, call).await
            }
        }
    }

    async fn stats(&self) -> Result<Box<Stats>, ApiError> {
        let stats = timeout(STATS_TIMEOUT, self.handle.stats()).await;
        stats.map_err(|_| ApiError::Busy)?.ok_or(ApiError::Stopped)
    }

    async fn join(&self, call: &Call<'_>) -> Result<Reply, ApiError> {
        if call.query.get("wan").is_some_and(|v| v != "0" && v != "false") {
            return Err(ApiError::Wan);
        }
        let unresolved =
            |e: AddressError| ApiError::Join(join_failures(&[resolve_failure(call.param, &e)]));
        // As memberlist has it: who is not told a port takes its own.
        let port = self.handle.info.advertise.port();
        let addr = parse_join_addr(call.param, port).map_err(unresolved)?;
        let candidates = addr.candidates().await.map_err(unresolved)?;
        let mut failures = Vec::new();
        for addr in candidates {
            match self.handle.join(addr).await {
                Ok(_) => return Ok(Reply::empty(StatusCode::OK)),
                Err(e) => failures.push(join_failure(addr, &e)),
            }
        }
        Err(ApiError::Join(join_failures(&failures)))
    }

    async fn reload(&self) -> Result<Reply, ApiError> {
        let Some(to) = &self.config.reload else {
            return Err(ApiError::Reload("this agent has no configuration to read again".into()));
        };
        let (tx, done) = oneshot::channel();
        to.send(tx).await.map_err(|_| ApiError::Stopped)?;
        done.await.map_err(|_| ApiError::Stopped)?.map_err(ApiError::Reload)?;
        Ok(Reply::empty(StatusCode::OK))
    }

    async fn force_leave(&self, call: &Call<'_>) -> Result<Reply, ApiError> {
        // The node knows names to the letter; people type them in any case.
        let known = self.handle.view().by_name(call.param).map(|m| m.record.name.clone());
        let name = known
            .map_or_else(|| Name::new(call.param), Ok)
            .map_err(|_| ApiError::UnknownName(call.param.escape_debug().to_string()))?;
        self.handle.force_leave(name, call.query.has("prune")).await?;
        Ok(Reply::empty(StatusCode::OK))
    }
}

/// A random part of up to a sixteenth, so that clients do not come back all at once.
fn jitter(wait: Duration) -> Duration {
    // Without randomness they do come back at once, and nothing worse.
    let random = getrandom::u32().unwrap_or(0);
    (wait / JITTER_DIVISOR).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// One address that could not be joined, in the words that Consul's users know from Go.
pub fn join_failure(addr: SocketAddr, e: &RequestError) -> String {
    let cause = match e {
        RequestError::Join(JoinError::Stream(e)) => match e {
            quorate_core::StreamError::TimedOut => format!("dial tcp {addr}: i/o timeout"),
            _ => format!("dial tcp {addr}: connect: {}", JoinError::Stream(*e)),
        },
        other => other.to_string(),
    };
    format!("Failed to join {}: {cause}", addr.ip())
}

/// An address that is none, or that the resolver does not know.
pub fn resolve_failure(text: &str, e: &AddressError) -> String {
    format!("Failed to resolve {}: {e}", text.escape_debug())
}

/// All that went wrong with one join, on one line.
pub fn join_failures(failures: &[String]) -> String {
    let count: Cow<'_, str> = match failures.len() {
        1 => "1 error occurred:".into(),
        n => format!("{n} errors occurred:").into(),
    };
    failures.iter().fold(count.into_owned(), |text, f| text + " * " + f)
}
