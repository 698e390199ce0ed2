//! Saves in the background: the node's task never waits for a disk. A newer state replaces one
//! that still waits; a failed save is tried again, with growing pauses, until it works.

use std::{sync::Arc, sync::Mutex, time::Duration};

use quorate_core::{Durable, Persist, PersistToken, wire::Keyring};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{DataDir, PersistError};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The node's end of the background writer.
#[derive(Debug)]
pub struct Writer {
    queue: watch::Sender<Option<Persist>>,
    done: mpsc::Receiver<PersistToken>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts writing to `dir`. Must be called within a tokio runtime.
    pub fn start(dir: DataDir) -> Self {
        let (queue, queued) = watch::channel(None);
        let (done_tx, done) = mpsc::channel(16);
        let task = tokio::spawn(run(Arc::new(Mutex::new(dir)), queued, done_tx));
        Self { queue, done, task }
    }

    /// Saves `p` soon; one that still waits is replaced.
    pub fn submit(&self, p: Persist) {
        self.queue.send_replace(Some(p));
    }

    /// The next token that is on stable storage (tokens of replaced states never come).
    /// Cancel safe. Never ends by itself.
    pub async fn saved(&mut self) -> PersistToken {
        match self.done.recv().await {
            Some(token) => token,
            // The task only ends with the queue: a panic in it was logged by then.
            None => std::future::pending().await,
        }
    }

    /// Writes what waits, for at most `limit`, then ends and unlocks the directory.
    pub async fn finish(self, limit: Duration) {
        let Self { queue, mut done, mut task } = self;
        drop(queue);
        let drained = async {
            while done.recv().await.is_some() {}
            (&mut task).await
        };
        if timeout(limit, drained).await.is_err() {
            tracing::error!("the last state could not be saved in time");
            task.abort();
        }
    }
}

async fn run(
    dir: Arc<Mutex<DataDir>>,
    mut queue: watch::Receiver<Option<Persist>>,
    done: mpsc::Sender<PersistToken>,
) {
    let mut pause = FIRST_PAUSE;
    // An error of `changed` means that the sender is gone and everything was seen.
    while queue.changed().await.is_ok() {
        loop {
            let next = queue.borrow_and_update().clone();
            let Some(p) = next else { break };
            match save(&dir, p.state, p.keys).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    if done.send(p.token).await.is_err() {
                        return;
                    }
                    break;
                }
                Err(e) => {
                    tracing::error!("the state is not saved, trying again: {e}");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// One save on a thread that may block.
async fn save(
    dir: &Arc<Mutex<DataDir>>,
    state: Durable,
    keys: Option<Keyring>,
) -> Result<(), PersistError> {
    let dir = Arc::clone(dir);
    let saved = tokio::task::spawn_blocking(move || {
        // A poisoned lock: the directory's state is as after a failed save.
        let mut dir = dir.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.iter().try_for_each(|k| dir.save_keys(k))?;
        dir.save(&state)
    });
    match saved.await {
        Ok(result) => result,
        Err(e) => Err(PersistError::Thread(e.to_string())),
    }
}
