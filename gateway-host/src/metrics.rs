//! What the gateway counts, in Prometheus' text format.
//!
//! Labels are few and come from the configuration, never from a request, so that no caller can grow the number of series.

use axum::http::StatusCode;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use sipp::engine::{Counters, Histogram};
use sipp::{EngineEntry, Operation};

/// What a caller can ask for, in the order of documents.
pub const OPERATIONS: [Operation; 3] = [Operation::Query, Operation::Chat, Operation::Embed];

/// Counters of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests to an operation, by operation.
    pub requests: IntCounterVec,
    /// Of those, the ones that were answered with an error, by operation.
    pub errors: IntCounterVec,
    /// Of those, the ones whose caller went away before the answer was complete.
    pub hang_ups: IntCounter,
    /// Responses on the public listener, by class of their status.
    pub responses: IntCounterVec,
    /// Requests that are being answered.
    pub active: IntGauge,
    /// Tokens read.
    pub input_tokens: IntCounter,
    /// Tokens written.
    pub output_tokens: IntCounter,
}

impl Metrics {
    /// Counters that stand at 0.
    ///
    /// # Errors
    /// Two counters have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let by_operation = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["operation"]);
        let responses = Opts::new("sipp_gateway_responses_total", "Responses by class of their HTTP status.");
        let metrics = Self {
            registry: Registry::new(),
            requests: by_operation("sipp_gateway_requests_total", "Requests by operation.")?,
            errors: by_operation("sipp_gateway_errors_total", "Requests answered with an error, by operation.")?,
            hang_ups: IntCounter::new(
                "sipp_gateway_hang_ups_total",
                "Requests whose caller went away before the answer was complete.",
            )?,
            responses: IntCounterVec::new(responses, &["status_class"])?,
            active: IntGauge::new("sipp_gateway_active_requests", "Requests that are being answered.")?,
            input_tokens: IntCounter::new("sipp_gateway_input_tokens_total", "Tokens read.")?,
            output_tokens: IntCounter::new("sipp_gateway_output_tokens_total", "Tokens written.")?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(self.requests.clone()))?;
        self.registry.register(Box::new(self.errors.clone()))?;
        self.registry.register(Box::new(self.hang_ups.clone()))?;
        self.registry.register(Box::new(self.responses.clone()))?;
        self.registry.register(Box::new(self.active.clone()))?;
        self.registry.register(Box::new(self.input_tokens.clone()))?;
        self.registry.register(Box::new(self.output_tokens.clone()))?;
        // A series that appears only with its first event looks like a gap to whoever computes a rate.
        for operation in OPERATIONS {
            self.requests.with_label_values(&[operation.to_string()]).inc_by(0);
            self.errors.with_label_values(&[operation.to_string()]).inc_by(0);
        }
        Ok(())
    }

    /// Counts a response on the public listener.
    pub fn responded(&self, status: StatusCode) {
        let class = format!("{}xx", status.as_u16() / 100);
        self.responses.with_label_values(&[class]).inc();
    }

    /// All counters as text, with those of the engines.
    ///
    /// # Errors
    /// A counter cannot be written as text.
    pub fn text(&self, engines: &[EngineEntry]) -> Result<Vec<u8>, prometheus::Error> {
        let mut families = self.registry.gather();
        // Without local targets no engine counts, and a family without a series cannot be written.
        families.extend(of_engines(engines).into_iter().filter(|family| !family.get_metric().is_empty()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// A metric that is one number of an engine: name, help, kind, and which number.
type Number = (&'static str, &'static str, MetricType, fn(&Counters) -> f64);

const NUMBERS: [Number; 11] = [
    ("sipp_engine_input_tokens_total", "Tokens that an engine read, by target.", MetricType::COUNTER, |c| {
        number(c.input_tokens)
    }),
    (
        "sipp_engine_cached_tokens_total",
        "Of the tokens that an engine read, those that were computed before, by target.",
        MetricType::COUNTER,
        |c| number(c.cached_tokens),
    ),
    ("sipp_engine_output_tokens_total", "Tokens that an engine wrote, by target.", MetricType::COUNTER, |c| {
        number(c.output_tokens)
    }),
    ("sipp_engine_slots", "Requests that an engine can run at the same time, by target.", MetricType::GAUGE, |c| {
        number(c.slots)
    }),
    ("sipp_engine_batches_total", "Batches that an engine computed, by target.", MetricType::COUNTER, |c| {
        number(c.batches)
    }),
    (
        "sipp_engine_batch_slots_total",
        "Requests that had a part in an engine's batches, by target.",
        MetricType::COUNTER,
        |c| number(c.batch_slots),
    ),
    ("sipp_engine_batch_tokens_total", "Tokens in an engine's batches, by target.", MetricType::COUNTER, |c| {
        number(c.batch_tokens)
    }),
    ("sipp_engine_computing_seconds_total", "Time in which an engine computed, by target.", MetricType::COUNTER, |c| {
        c.computing.as_secs_f64()
    }),
    ("sipp_engine_held_tokens", "Tokens that an engine's context holds, by target.", MetricType::GAUGE, |c| {
        number(c.held_tokens)
    }),
    (
        "sipp_engine_context_tokens",
        "Tokens that an engine's context has room for, by target.",
        MetricType::GAUGE,
        |c| number(c.context_tokens),
    ),
    ("sipp_engine_snapshot_bytes", "Bytes of an engine's snapshots, by target.", MetricType::GAUGE, |c| {
        number(c.snapshot_bytes)
    }),
];

/// What the engines counted themselves: requests, however they ended, and tokens, also those of callers who went away.
fn of_engines(engines: &[EngineEntry]) -> Vec<MetricFamily> {
    let (counter, gauge) = (MetricType::COUNTER, MetricType::GAUGE);
    let requests = engines.iter().flat_map(|EngineEntry { id, counters, .. }| {
        [("running", counters.running), ("queued", counters.queued)]
            .map(|(state, count)| one(&[("state", state), ("target", id)], gauge, number(count)))
    });
    let ended = engines.iter().flat_map(|EngineEntry { id, counters, .. }| {
        [("completed", counters.completed), ("cancelled", counters.cancelled), ("failed", counters.failed)]
            .map(|(end, count)| one(&[("end", end), ("target", id)], counter, number(count)))
    });
    let mut families = vec![
        family("sipp_engine_requests", "Requests in an engine, by target and state.", gauge, requests),
        family(
            "sipp_engine_requests_total",
            "Requests that left an engine, by target and how they ended.",
            counter,
            ended,
        ),
    ];
    families.extend(NUMBERS.map(|(name, help, kind, value)| {
        let series = engines.iter().map(|engine| one(&[("target", &engine.id)], kind, value(&engine.counters)));
        family(name, help, kind, series)
    }));
    let times = |name, help, value: fn(&Counters) -> Histogram| {
        let series = engines.iter().map(|engine| histogram(&engine.id, &value(&engine.counters)));
        family(name, help, MetricType::HISTOGRAM, series)
    };
    families.push(times(
        "sipp_engine_time_to_first_token_seconds",
        "From acceptance to the first token of a request, by target.",
        |c| c.time_to_first_token,
    ));
    families.push(times("sipp_engine_inter_token_seconds", "Between two tokens of a request, by target.", |c| {
        c.inter_token
    }));
    families
}

fn family(name: &str, help: &str, kind: MetricType, series: impl Iterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series.collect());
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    Metric::from_label(labels.collect())
}

fn one(labels: &[(&str, &str)], kind: MetricType, value: f64) -> Metric {
    let mut metric = labelled(labels);
    if kind == MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram(target: &str, times: &Histogram) -> Metric {
    let mut below = 0;
    // What is above the last bound counts only in the sum of all.
    let buckets = Histogram::BOUNDS.iter().zip(times.counts).map(|(bound, count)| {
        below += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.counts.iter().sum());
    histogram.set_sample_sum(times.sum.as_secs_f64());
    let mut metric = labelled(&[("target", target)]);
    metric.set_histogram(histogram);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating-point")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_local_models_has_metrics_too() {
        let text = String::from_utf8(Metrics::new().unwrap().text(&[]).unwrap()).unwrap();
        assert!(text.contains("sipp_gateway_active_requests 0") && !text.contains("sipp_engine"), "{text}");
    }
}
