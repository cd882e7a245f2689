//! A thread that looks at images, so that nobody who writes waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use crate::counters::Tally;
use crate::error::Error;
use crate::slot::Job;
use crate::vision::Vision;
use crate::worker::Command;

/// Some decoders of images nest deeply.
const STACK_BYTES: usize = 16 << 20;

/// The thread, and what it was given. When it is dropped, requests that it has end cancelled, and it is joined.
pub(crate) struct Thread {
    jobs: Option<Sender<Box<Job>>>,
    given: Vec<Weak<AtomicBool>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    pub(crate) fn start(vision: Box<Vision>, done: Sender<Command>, tally: Arc<Tally>) -> Result<Self, Error> {
        let (jobs, received) = channel();
        let thread = thread::Builder::new()
            .name("sipp-eyes".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(*vision, &received, &done, &tally))
            .map_err(|e| Error::Internal(format!("the thread that looks at images cannot be started: {e}")))?;
        Ok(Self { jobs: Some(jobs), given: Vec::new(), thread: Some(thread) })
    }

    /// Has the images of a request looked at. It comes back as a command.
    pub(crate) fn look(&mut self, job: Box<Job>) {
        self.given.retain(|cancelled| cancelled.strong_count() > 0);
        self.given.push(Arc::downgrade(&job.cancelled));
        if let Some(jobs) = &self.jobs {
            // If the thread is gone, the job is dropped, and its reply says so.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        for cancelled in self.given.iter().filter_map(Weak::upgrade) {
            cancelled.store(true, Ordering::Relaxed);
        }
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked, and then its requests were told.
            let _ = thread.join();
        }
    }
}

fn run(mut vision: Vision, jobs: &Receiver<Box<Job>>, done: &Sender<Command>, tally: &Tally) {
    while let Ok(mut job) = jobs.recv() {
        match vision.look(&mut job) {
            // If nobody receives any more, the job is dropped, and its reply says so.
            Ok(()) => drop(done.send(Command::Generate(job))),
            Err(error) => job.end_early(error, tally),
        }
    }
}
