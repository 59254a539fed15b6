//! The only connection of this process: a socket to the worker that started it.
//!
//! A thread receives the worker's messages. Any thread may request a range of the source and wait for it, or send a
//! report. When the worker disconnects, nobody needs the result, so the process kills itself.

use crate::{
    framing::{read_message, write_message},
    source::blocks::{Ranges, ReadError, Ticket},
};
use bytes::Bytes;
use clipfleet_contract::v1::{FromPipeline, ReadRange, StartTranscode, ToPipeline, from_pipeline, to_pipeline};
use clipfleet_domain::failure::{Code, Failure};
use parking_lot::Mutex;
use std::{collections::HashMap, io, os::unix::net::UnixStream, sync::Arc};

/// The connection to the worker.
pub struct WorkerLink {
    writer: Mutex<UnixStream>,
    pending: Mutex<Pending>,
    source_size: u64,
}

#[derive(Default)]
struct Pending {
    last_id: u64,
    tickets: HashMap<u64, Ticket>,
}

impl WorkerLink {
    /// Waits for the order on a new connection. `None` if the worker closes the connection without an order.
    pub fn receive_order(stream: &mut UnixStream) -> io::Result<Option<StartTranscode>> {
        // Only sockets have a peer address.
        stream.peer_addr()?;
        match read_message::<ToPipeline>(stream)?.map(|message| message.message) {
            Some(Some(to_pipeline::Message::Start(start))) => Ok(Some(start)),
            Some(Some(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, "expected an order first")),
            Some(None) | None => Ok(None),
        }
    }

    /// Starts the receiving thread. Follows the order, so that the sandbox precedes this process's first thread.
    pub fn start(stream: UnixStream, order: &StartTranscode) -> io::Result<Arc<Self>> {
        let reader = stream.try_clone()?;
        let link = Arc::new(Self {
            writer: Mutex::new(stream),
            pending: Mutex::default(),
            source_size: order.source_size_bytes,
        });
        let receiver = Arc::clone(&link);
        std::thread::Builder::new().name("worker-link".into()).spawn(move || receiver.receive(reader))?;
        Ok(link)
    }

    /// Sends one report.
    pub fn send(&self, message: from_pipeline::Message) -> io::Result<()> {
        write_message(&mut *self.writer.lock(), &FromPipeline { message: Some(message) })
    }

    fn receive(&self, mut reader: UnixStream) {
        let reason = loop {
            match read_message::<ToPipeline>(&mut reader) {
                Ok(Some(ToPipeline { message: Some(to_pipeline::Message::RangeBytes(answer)) })) => {
                    self.settle(answer.id, Ok(answer.data));
                }
                Ok(Some(ToPipeline { message: Some(to_pipeline::Message::RangeFailed(answer)) })) => {
                    let error = answer.error.unwrap_or_default();
                    let failure =
                        Failure { retryable: error.retryable, ..Failure::new(Code::parse(&error.code), error.message) };
                    self.settle(answer.id, Err(ReadError::Failed(failure)));
                }
                Ok(Some(_)) => break "the worker sent a message that is not an answer".to_owned(),
                Ok(None) => break "the worker closed the connection".to_owned(),
                Err(error) => break format!("the connection to the worker broke: {error}"),
            }
        };
        // Nobody needs the result, and an orderly shutdown of the codecs' threads could take long. The attempt's
        // directory belongs to the worker, so there is nothing to clean up.
        tracing::warn!(reason, "leaving");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }

    fn settle(&self, id: u64, answer: Result<Bytes, ReadError>) {
        match self.pending.lock().tickets.remove(&id) {
            Some(ticket) => ticket.settle(answer),
            None => tracing::warn!(id, "an answer to no question"),
        }
    }
}

impl Ranges for WorkerLink {
    fn size(&self) -> u64 {
        self.source_size
    }

    fn request(&self, offset: u64, length: u64) -> Ticket {
        let ticket = Ticket::default();
        let id = {
            let mut pending = self.pending.lock();
            pending.last_id += 1;
            let id = pending.last_id;
            pending.tickets.insert(id, ticket.clone());
            id
        };
        if let Err(error) = self.send(from_pipeline::Message::ReadRange(ReadRange { id, offset, length })) {
            let message = format!("failed to ask the worker for bytes {offset}+{length}: {error}");
            self.settle(id, Err(ReadError::Failed(Failure::new(Code::Internal, message))));
        }
        ticket
    }
}
