//! Streams: one task each, which carries bytes between a socket and the driver.
//!
//! Bounded by: a permit per accepted stream, held until its task ends; one channel of chunks to
//! the driver, whose fullness makes the readers wait (and so the remote ends); bytes waiting to
//! be written, per stream and for all together. There is no idle timeout: that is the node's to
//! decide.
//!
//! Invariant: after `Close` or `Abort` the node hears nothing more of a stream, nor after
//! `Failed`.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorate_core::{StreamError, StreamId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    counters::{IoCounters, count},
    transport::{Listener, Net, stream_error},
};

/// Chunks on their way to the driver.
const CHUNKS: usize = 64;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 16 << 10;
/// Bytes that may wait to be written to one stream: the records of a full member table.
const STREAM_BYTES: usize = 16 << 20;
/// Bytes that may wait to be written to all streams together.
const TOTAL_BYTES: usize = 64 << 20;
/// After `Close`: at most so long to send what is queued...
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// ... and then to see the remote end close, so that nothing queued is lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// After a failed accept (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happened on a stream.
#[derive(Debug)]
pub(super) enum Input {
    /// Somebody connected.
    Accepted { from: SocketAddr },
    /// A connect worked.
    Connected,
    /// Bytes.
    Data(Vec<u8>),
    /// The remote end sends no more.
    Finished,
    /// It broke; its task has ended.
    Failed(StreamError),
}

/// From a stream's task to the driver.
#[derive(Debug)]
enum Message {
    /// The first of an accepted stream, with the way back to its task.
    Accepted(SocketAddr, Link),
    /// Any other.
    Input(Input),
}

#[derive(Debug)]
enum Output {
    Write(Vec<u8>),
    Close,
    Abort,
}

/// The driver's hold on a stream's task. Dropping it aborts the stream.
#[derive(Debug)]
struct Link {
    outputs: mpsc::UnboundedSender<Output>,
    waiting: Arc<Waiting>,
}

/// Bytes handed to a stream and not yet written.
#[derive(Debug)]
struct Waiting {
    here: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Waiting {
    /// Reserves room; `false` if there is none.
    fn add(&self, n: usize) -> bool {
        let here = self.here.fetch_add(n, Ordering::Relaxed) + n;
        let all = self.all.fetch_add(n, Ordering::Relaxed) + n;
        here <= STREAM_BYTES && all <= TOTAL_BYTES
    }

    fn remove(&self, n: usize) {
        self.here.fetch_sub(n, Ordering::Relaxed);
        self.all.fetch_sub(n, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.here.get_mut(), Ordering::Relaxed);
    }
}

fn link(all: &Arc<AtomicUsize>) -> (Link, mpsc::UnboundedReceiver<Output>, Arc<Waiting>) {
    let (outputs, rx) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting { here: AtomicUsize::new(0), all: Arc::clone(all) });
    (Link { outputs, waiting: Arc::clone(&waiting) }, rx, waiting)
}

/// All streams of the driver.
#[derive(Debug)]
pub(super) struct Streams<N: Net> {
    net: N,
    links: BTreeMap<StreamId, Link>,
    inputs_tx: mpsc::Sender<(StreamId, Message)>,
    inputs: mpsc::Receiver<(StreamId, Message)>,
    waiting: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
    io: Arc<IoCounters>,
}

impl<N: Net> Streams<N> {
    /// Accepts on `listener`, at most `accepted_max` at once, and opens through `net`.
    pub(super) fn start(
        net: N,
        listener: N::Listener,
        accepted_max: usize,
        io: Arc<IoCounters>,
    ) -> Self {
        let (inputs_tx, inputs) = mpsc::channel(CHUNKS);
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept_loop::<N>(
            listener,
            Arc::new(Semaphore::new(accepted_max)),
            inputs_tx.clone(),
            Arc::clone(&waiting),
            Arc::clone(&io),
        ));
        Self { net, links: BTreeMap::new(), inputs_tx, inputs, waiting, tasks, io }
    }

    /// The next input that still concerns anybody, if one waits.
    pub(super) fn try_next(&mut self) -> Option<(StreamId, Input)> {
        // Finished tasks leave a result behind; take it so that they do not add up.
        while self.tasks.try_join_next().is_some() {}
        loop {
            let (id, message) = self.inputs.try_recv().ok()?;
            if let Some(input) = self.admit(id, message) {
                return Some((id, input));
            }
        }
    }

    /// Waits for an input that still concerns anybody. Cancel safe.
    pub(super) async fn next(&mut self) -> (StreamId, Input) {
        loop {
            let Some((id, message)) = self.inputs.recv().await else {
                // Not to happen: a sender is kept in `self`.
                std::future::pending().await
            };
            if let Some(input) = self.admit(id, message) {
                return (id, input);
            }
        }
    }

    fn admit(&mut self, id: StreamId, message: Message) -> Option<Input> {
        match message {
            Message::Accepted(from, link) => {
                self.links.insert(id, link);
                Some(Input::Accepted { from })
            }
            // Closed or aborted since: of no interest any more.
            Message::Input(_) if !self.links.contains_key(&id) => None,
            Message::Input(Input::Failed(e)) => {
                self.links.remove(&id);
                Some(Input::Failed(e))
            }
            Message::Input(input) => Some(input),
        }
    }

    /// Connects in the background.
    pub(super) fn open(&mut self, id: StreamId, to: SocketAddr) {
        let (link, outputs, waiting) = link(&self.waiting);
        self.links.insert(id, link);
        let (net, inputs) = (self.net.clone(), self.inputs_tx.clone());
        self.tasks.spawn(run_opened(net, to, Task { id, inputs, outputs, waiting }));
    }

    /// Queues bytes. `Err`: the remote end does not read; the stream is gone.
    pub(super) fn write(&mut self, id: StreamId, bytes: Vec<u8>) -> Result<(), StreamError> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        if !link.waiting.add(bytes.len()) {
            count(&self.io.io_streams_stalled);
            self.abort(id);
            return Err(StreamError::TimedOut);
        }
        // If the task is gone, its `Failed` is on the way.
        let _ = link.outputs.send(Output::Write(bytes));
        Ok(())
    }

    /// Sends what is queued, then closes.
    pub(super) fn close(&mut self, id: StreamId) {
        if let Some(link) = self.links.remove(&id) {
            let _ = link.outputs.send(Output::Close);
        }
    }

    /// Closes at once.
    pub(super) fn abort(&mut self, id: StreamId) {
        if let Some(link) = self.links.remove(&id) {
            let _ = link.outputs.send(Output::Abort);
        }
    }

    /// Ends everything; streams that are closing get `limit` to finish.
    pub(super) async fn finish(mut self, limit: Duration) {
        self.links.clear();
        self.inputs.close();
        let _ = timeout(limit, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}

async fn accept_loop<N: Net>(
    mut listener: N::Listener,
    permits: Arc<Semaphore>,
    inputs: mpsc::Sender<(StreamId, Message)>,
    all: Arc<AtomicUsize>,
    io: Arc<IoCounters>,
) {
    // Its own set: when the loop ends, its streams end.
    let mut tasks = JoinSet::new();
    let mut n = 0_u64;
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = inputs.closed() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                if io.io_accept_errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("cannot accept gossip streams: {e} (further ones are counted)");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            count(&io.io_streams_refused);
            N::abort(stream);
            continue;
        };
        let id = StreamId::accepted(n);
        n += 1;
        let (link, outputs, waiting) = link(&all);
        let task = Task { id, inputs: inputs.clone(), outputs, waiting };
        tasks.spawn(run_accepted::<N>(stream, from, link, task, permit));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// What a stream's task works with.
struct Task {
    id: StreamId,
    inputs: mpsc::Sender<(StreamId, Message)>,
    outputs: mpsc::UnboundedReceiver<Output>,
    waiting: Arc<Waiting>,
}

async fn run_accepted<N: Net>(
    stream: N::Stream,
    from: SocketAddr,
    link: Link,
    task: Task,
    _permit: OwnedSemaphorePermit,
) {
    if task.inputs.send((task.id, Message::Accepted(from, link))).await.is_ok() {
        pump::<N>(stream, task).await;
    }
}

async fn run_opened<N: Net>(net: N, to: SocketAddr, mut task: Task) {
    let mut early = Vec::new();
    let mut close = false;
    let connect = net.connect(to);
    tokio::pin!(connect);
    let connected = loop {
        tokio::select! {
            biased;
            output = task.outputs.recv(), if !close => match output {
                Some(Output::Write(bytes)) if bytes.is_empty() => {}
                Some(Output::Write(bytes)) => early.push(bytes),
                Some(Output::Close) => close = true,
                Some(Output::Abort) | None => return,
            },
            connected = &mut connect => break connected,
        }
    };
    match connected {
        Ok(stream) => {
            if task.inputs.send((task.id, Message::Input(Input::Connected))).await.is_ok() {
                Pump::<N>::new(stream, task, early, close).run().await;
            }
        }
        Err(e) => {
            let failed = Message::Input(Input::Failed(stream_error(&e, true)));
            let _ = task.inputs.send((task.id, failed)).await;
        }
    }
}

async fn pump<N: Net>(stream: N::Stream, task: Task) {
    Pump::<N>::new(stream, task, Vec::new(), false).run().await;
}

/// What is read next goes where.
enum Reading {
    /// Into the buffer.
    Socket,
    /// So many bytes are in the buffer and wait for the driver.
    Chunk(usize),
    /// The remote end has finished, the driver is not told yet.
    Eof,
    /// Nowhere: the remote end has finished.
    Done,
}

/// A connected stream between socket and driver.
struct Pump<N: Net> {
    rd: ReadHalf<N::Stream>,
    wr: WriteHalf<N::Stream>,
    task: Task,
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first in the queue that are written.
    written: usize,
    closing: bool,
}

enum End {
    /// Closed after a flush.
    Closed,
    /// To be reset.
    Abort,
    /// It broke.
    Broken(io::Error),
}

impl<N: Net> Pump<N> {
    fn new(stream: N::Stream, task: Task, early: Vec<Vec<u8>>, closing: bool) -> Self {
        let (rd, wr) = tokio::io::split(stream);
        Self { rd, wr, task, queue: early.into(), written: 0, closing }
    }

    async fn run(mut self) {
        let mut end = if self.closing { End::Closed } else { self.exchange().await };
        if matches!(end, End::Closed) {
            end = match timeout(FLUSH_TIMEOUT, self.flush()).await {
                Ok(Ok(())) => End::Closed,
                _ => End::Abort,
            };
        }
        match end {
            End::Closed => {
                let _ = timeout(LINGER, self.read_to_end()).await;
            }
            End::Abort => N::abort(self.rd.unsplit(self.wr)),
            End::Broken(e) => {
                let failed = Message::Input(Input::Failed(stream_error(&e, false)));
                let _ = self.task.inputs.send((self.task.id, failed)).await;
            }
        }
    }

    /// Both directions, until the driver has had enough or the stream breaks.
    async fn exchange(&mut self) -> End {
        let mut buf = vec![0; CHUNK_BYTES];
        let mut reading = Reading::Socket;
        // A permit must not borrow from `self`.
        let inputs = self.task.inputs.clone();
        loop {
            let head = self.queue.front().map_or(&[][..], |b| &b[self.written..]);
            tokio::select! {
                biased;
                output = self.task.outputs.recv() => match output {
                    Some(Output::Write(bytes)) if bytes.is_empty() => {}
                    Some(Output::Write(bytes)) => self.queue.push_back(bytes),
                    Some(Output::Close) => return End::Closed,
                    Some(Output::Abort) | None => return End::Abort,
                },
                done = self.wr.write(head), if !head.is_empty() => match done {
                    Ok(0) => return End::Broken(io::ErrorKind::WriteZero.into()),
                    Ok(n) => self.wrote(n),
                    Err(e) => return End::Broken(e),
                },
                room = inputs.reserve(),
                    if matches!(reading, Reading::Chunk(_) | Reading::Eof) =>
                {
                    let Ok(room) = room else { return End::Abort };
                    reading = match reading {
                        Reading::Chunk(n) => {
                            let data = Input::Data(buf[..n].to_vec());
                            room.send((self.task.id, Message::Input(data)));
                            Reading::Socket
                        }
                        _ => {
                            room.send((self.task.id, Message::Input(Input::Finished)));
                            Reading::Done
                        }
                    };
                }
                got = self.rd.read(&mut buf), if matches!(reading, Reading::Socket) => match got {
                    Ok(0) => reading = Reading::Eof,
                    Ok(n) => reading = Reading::Chunk(n),
                    Err(e) => return End::Broken(e),
                },
            }
        }
    }

    fn wrote(&mut self, n: usize) {
        self.task.waiting.remove(n);
        self.written += n;
        if self.queue.front().is_some_and(|b| self.written >= b.len()) {
            self.queue.pop_front();
            self.written = 0;
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        for bytes in std::mem::take(&mut self.queue) {
            self.wr.write_all(&bytes[self.written..]).await?;
            self.written = 0;
        }
        self.wr.shutdown().await
    }

    /// Throws away what still comes.
    async fn read_to_end(&mut self) {
        let mut sink = [0; 1024];
        while matches!(self.rd.read(&mut sink).await, Ok(n) if n > 0) {}
    }
}

#[cfg(test)]
mod tests;
