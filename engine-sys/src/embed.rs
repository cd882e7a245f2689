//! Vectors for texts: as many inputs in one computation as fit.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::config::Pooling;
use crate::context::{Batch, Context};
use crate::counters::{End, Tally};
use crate::error::Error;
use crate::model::Model;
use crate::plan::{Plan, vector_length};
use crate::reply::EmbedReply;
use crate::request::{EmbedRequest, Embedding, Stats};
use crate::vocab::{Ends, Token};

/// A request for vectors that waits.
pub(crate) struct EmbedJob {
    pub(crate) request: EmbedRequest,
    pub(crate) reply: EmbedReply,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) accepted: Instant,
}

impl EmbedJob {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A request for vectors that runs.
struct Run {
    job: EmbedJob,
    inputs: Vec<Vec<Token>>,
    vectors: Vec<Vec<f32>>,
    started: Instant,
    first: Option<Instant>,
}

/// Makes the vectors of one model. Driven as the scheduler is.
pub(crate) struct Embedder {
    /// Freed before the model, which it keeps.
    context: Context,
    model: Rc<Model>,
    context_tokens: u32,
    /// Most inputs in one batch.
    sequences: usize,
    queue: VecDeque<EmbedJob>,
    run: Option<Run>,
    batch: Batch,
    tally: Arc<Tally>,
}

impl Embedder {
    pub(crate) fn new(model: Rc<Model>, context: Context, plan: &Plan, tally: Arc<Tally>) -> Self {
        Self {
            context,
            model,
            context_tokens: plan.context,
            sequences: plan.sequences() as usize,
            queue: VecDeque::new(),
            run: None,
            batch: Batch::default(),
            tally,
        }
    }

    /// Queues a request.
    pub(crate) fn submit(&mut self, job: EmbedJob) {
        self.queue.push_back(job);
    }

    /// Computes at most one batch. Returns whether there is more to do.
    pub(crate) fn step(&mut self) -> bool {
        self.end_cancelled();
        if self.run.is_none() {
            self.start();
        }
        if let Some(run) = self.run.take() {
            self.run = self.advance(run);
        }
        self.run.is_some() || !self.queue.is_empty()
    }

    /// Ends everything as cancelled.
    pub(crate) fn close(&mut self) {
        for job in std::mem::take(&mut self.queue) {
            self.tally.left_queue(End::Cancelled);
            job.reply.done(Err(Error::Cancelled));
        }
        if let Some(run) = self.run.take() {
            self.end(run, Err(Error::Cancelled));
        }
    }

    fn end_cancelled(&mut self) {
        let (cancelled, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(EmbedJob::is_cancelled);
        self.queue = waiting;
        for job in cancelled {
            self.tally.left_queue(End::Cancelled);
            job.reply.done(Err(Error::Cancelled));
        }
        if let Some(run) = self.run.take_if(|run| run.job.is_cancelled()) {
            self.end(run, Err(Error::Cancelled));
        }
    }

    fn start(&mut self) {
        let Some(job) = self.queue.pop_front() else { return };
        match self.tokenize(&job.request) {
            Ok(inputs) => {
                self.tally.started();
                self.run = Some(Run { job, inputs, vectors: Vec::new(), started: Instant::now(), first: None });
            }
            Err(error) => {
                self.tally.left_queue(End::Failed);
                job.reply.done(Err(error));
            }
        }
    }

    fn tokenize(&self, request: &EmbedRequest) -> Result<Vec<Vec<Token>>, Error> {
        let vocab = self.model.vocab();
        let mut tokenized = Vec::with_capacity(request.inputs.len());
        for (index, input) in request.inputs.iter().enumerate() {
            let tokens = match &request.query {
                Some(query) => self.pair(query, input)?,
                None => vocab.tokenize(input.as_bytes(), true, false)?,
            };
            if tokens.is_empty() {
                return Err(Error::InvalidRequest(format!("input {index} is empty")));
            }
            let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            if count > self.context_tokens {
                return Err(Error::PromptTooLong { prompt_tokens: count, context_tokens: self.context_tokens });
            }
            tokenized.push(tokens);
        }
        Ok(tokenized)
    }

    /// A query and a text as models with a classification head read them: by the template that the file has for it, else
    /// each between the tokens that begin and end a text.
    fn pair(&self, query: &str, text: &str) -> Result<Vec<Token>, Error> {
        let vocab = self.model.vocab();
        let Some(template) = self.model.rerank_template() else {
            let Ends { first, last, between } = vocab.ends();
            let (query, text) =
                (vocab.tokenize(query.as_bytes(), false, false)?, vocab.tokenize(text.as_bytes(), false, false)?);
            return Ok([first, query, last.clone(), between, text, last].concat());
        };
        // In this order of pieces no text of the caller's is looked into for another placeholder.
        let mut tokens = Vec::new();
        for (index, piece) in template.split("{query}").enumerate() {
            if index > 0 {
                tokens.extend(vocab.tokenize(query.as_bytes(), false, false)?);
            }
            for (index, piece) in piece.split("{document}").enumerate() {
                if index > 0 {
                    tokens.extend(vocab.tokenize(text.as_bytes(), false, false)?);
                }
                tokens.extend(vocab.tokenize(piece.as_bytes(), false, true)?);
            }
        }
        Ok(tokens)
    }

    /// Computes the next batch of a request. Returns it if more of it is left.
    fn advance(&mut self, mut run: Run) -> Option<Run> {
        let count = self.fill_batch(&run);
        let computed = self.context.compute(&mut self.batch, vec![Arc::clone(&run.job.cancelled)]);
        let taken = computed.map_err(Error::from).and_then(|()| self.vectors(count));
        self.context.clear();
        match taken {
            Ok(vectors) => run.vectors.extend(vectors),
            Err(error) => {
                self.end(run, Err(error));
                return None;
            }
        }
        run.first.get_or_insert_with(Instant::now);
        if run.vectors.len() < run.inputs.len() {
            return Some(run);
        }
        let embedding = self.embedding(&mut run);
        self.end(run, Ok(embedding));
        None
    }

    /// Puts as many inputs into the batch as fit, and says how many.
    fn fill_batch(&mut self, run: &Run) -> usize {
        self.batch.clear();
        let mut count = 0;
        for input in run.inputs.iter().skip(run.vectors.len()).take(self.sequences) {
            if self.batch.len() + input.len() > self.context.batch_size() {
                break;
            }
            for (position, token) in input.iter().enumerate() {
                self.batch.push(*token, position, count, true);
            }
            count += 1;
        }
        count
    }

    fn vectors(&self, count: usize) -> Result<Vec<Vec<f32>>, Error> {
        let length = vector_length(&self.model, self.context.pooling()) as usize;
        (0..count)
            .map(|sequence| self.context.vector(sequence, length))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::Internal("the computation left no vector".to_owned()))
    }

    fn embedding(&self, run: &mut Run) -> Embedding {
        let pooling = self.context.pooling();
        let normalized = run.job.request.normalize.unwrap_or(true) && pooling != Pooling::Rank;
        let mut vectors = std::mem::take(&mut run.vectors);
        if normalized {
            vectors.iter_mut().for_each(|vector| normalize(vector));
        }
        let input_tokens = run.input_tokens();
        let first = run.first.unwrap_or(run.started);
        let stats = Stats {
            queue: run.started.duration_since(run.job.accepted),
            time_to_first_token: Some(first.duration_since(run.job.accepted)),
            prefill: run.started.elapsed(),
            prefill_tokens: input_tokens,
            ..Stats::default()
        };
        Embedding { vectors, pooling, normalized, input_tokens, stats }
    }

    fn end(&self, run: Run, result: Result<Embedding, Error>) {
        let (end, tokens) = match &result {
            Ok(embedding) => (End::Completed, embedding.input_tokens),
            Err(Error::Cancelled) => (End::Cancelled, 0),
            Err(_) => (End::Failed, 0),
        };
        self.tally.ended(end, tokens, 0);
        run.job.reply.done(result);
    }
}

impl Run {
    fn input_tokens(&self) -> u32 {
        self.inputs.iter().map(|input| u32::try_from(input.len()).unwrap_or(u32::MAX)).fold(0, u32::saturating_add)
    }
}

/// Scales to length 1; a vector of zeros stays as it is.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            #[allow(clippy::cast_possible_truncation, reason = "the result is as exact as f32 is")]
            let scaled = (f64::from(*value) / length) as f32;
            *value = scaled;
        }
    }
}
