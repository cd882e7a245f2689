//! What the gateway counts, in Prometheus' text format.
//!
//! Labels are few and come from the configuration, never from a request, so that no caller can grow the number of series.

use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
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
        families.extend(of_engines(engines)?.into_iter().filter(|family| !family.get_metric().is_empty()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// What the engines counted themselves: requests, however they ended, and tokens, also those of callers who went away.
fn of_engines(engines: &[EngineEntry]) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let help = "Requests in an engine, by target and state.";
    let requests = IntGaugeVec::new(Opts::new("sipp_engine_requests", help), &["target", "state"])?;
    let help = "Requests that left an engine, by target and how they ended.";
    let ended = IntCounterVec::new(Opts::new("sipp_engine_requests_total", help), &["target", "end"])?;
    let help = "Tokens that an engine read, by target.";
    let input = IntCounterVec::new(Opts::new("sipp_engine_input_tokens_total", help), &["target"])?;
    let help = "Of the tokens that an engine read, those that were computed before, by target.";
    let cached = IntCounterVec::new(Opts::new("sipp_engine_cached_tokens_total", help), &["target"])?;
    let help = "Tokens that an engine wrote, by target.";
    let output = IntCounterVec::new(Opts::new("sipp_engine_output_tokens_total", help), &["target"])?;
    for EngineEntry { id, counters, .. } in engines {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        requests.with_label_values(&[id, "running"]).set(gauge(counters.running));
        requests.with_label_values(&[id, "queued"]).set(gauge(counters.queued));
        ended.with_label_values(&[id, "completed"]).inc_by(counters.completed);
        ended.with_label_values(&[id, "cancelled"]).inc_by(counters.cancelled);
        ended.with_label_values(&[id, "failed"]).inc_by(counters.failed);
        input.with_label_values(&[id]).inc_by(counters.input_tokens);
        cached.with_label_values(&[id]).inc_by(counters.cached_tokens);
        output.with_label_values(&[id]).inc_by(counters.output_tokens);
    }
    Ok([requests.collect(), ended.collect(), input.collect(), cached.collect(), output.collect()].concat())
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
