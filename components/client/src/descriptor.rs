//! What a descriptor may say, by kind.

use fluent_uri::Uri;
use fluent_uri::component::Host;

use crate::bindings::exports::sipp::client::client::Kind;
use crate::bindings::sipp::host::endpoints::{
    Authentication, CacheMode, CacheOptions, ContextOptions, Descriptor, GatewayDescriptor, Header, LocalDescriptor,
    MultimodalOptions, Placement, ProviderDescriptor, ResidencyOptions, RopeScaling, SchedulerOptions, SplitMode,
    Timeouts,
};
use crate::bindings::sipp::inference::types::Error;
use crate::request::{check_unreserved, invalid};
use crate::sampling;

/// Most times that an endpoint may be asked again.
const MOST_RETRIES: u32 = 10;

/// The kind of endpoint that a descriptor describes.
pub(crate) fn kind(descriptor: &Descriptor) -> Kind {
    match descriptor {
        Descriptor::Local(_) => Kind::Local,
        Descriptor::Gateway(_) => Kind::Gateway,
        Descriptor::Provider(_) => Kind::Provider,
    }
}

/// Checks a descriptor before anything is opened for it.
pub(crate) fn check(descriptor: &Descriptor) -> Result<(), Error> {
    match descriptor {
        Descriptor::Local(local) => check_local(local),
        Descriptor::Gateway(gateway) => check_gateway(gateway),
        Descriptor::Provider(provider) => check_provider(provider),
    }
}

fn check_local(local: &LocalDescriptor) -> Result<(), Error> {
    if local.model.trim().is_empty() {
        return Err(invalid("model of a local endpoint must not be empty"));
    }
    check_placement(&local.placement)?;
    check_context(&local.context)?;
    check_rope(&local.context)?;
    check_residency(&local.residency)?;
    check_scheduler(&local.scheduler, &local.context)?;
    check_cache(&local.cache)?;
    check_multimodal(&local.multimodal)?;
    sampling::check(&local.sampling)
}

fn check_context(context: &ContextOptions) -> Result<(), Error> {
    check_ranges([
        ("n_ctx", context.n_ctx, 0, i32::MAX.unsigned_abs()),
        ("n_batch", context.n_batch, 1, i32::MAX.unsigned_abs()),
        ("n_ubatch", context.n_ubatch, 1, context.n_batch.unwrap_or(i32::MAX.unsigned_abs())),
        ("n_parallel", context.n_parallel, 1, 64),
        ("n_threads", context.n_threads, 1, 512),
        ("n_threads_batch", context.n_threads_batch, 1, 512),
    ])
}

/// What devices there are is the host's to know.
fn check_placement(placement: &Placement) -> Result<(), Error> {
    if placement.main_gpu.is_some() && placement.split_mode != Some(SplitMode::None) {
        return Err(invalid("main_gpu has an effect with split_mode none only"));
    }
    let shares = &placement.tensor_split;
    let is_valid = shares.iter().all(|share| share.is_finite() && *share >= 0.0);
    if !shares.is_empty() && (!is_valid || shares.iter().all(|share| *share == 0.0)) {
        return Err(invalid("tensor_split must be numbers that are finite and at least 0, and not all of them 0"));
    }
    Ok(())
}

/// What a combination does is the model's to know, but for YaRN's own options where another scaling is named.
fn check_rope(context: &ContextOptions) -> Result<(), Error> {
    let between = |name: &str, value: Option<f32>, is_valid: fn(f32) -> bool, range: &str| match value {
        Some(value) if !is_valid(value) => Err(invalid(format!("{name} must be {range}"))),
        _ => Ok(()),
    };
    let (above_0, is_above_0): (_, fn(f32) -> bool) = ("finite and above 0", |value| value.is_finite() && value > 0.0);
    between("rope_freq_base", context.rope_freq_base, is_above_0, above_0)?;
    between("rope_freq_scale", context.rope_freq_scale, |value| value > 0.0 && value <= 1.0, "above 0 and at most 1")?;
    between("yarn_ext_factor", context.yarn_ext_factor, |value| (0.0..=1.0).contains(&value), "from 0 to 1")?;
    between("yarn_attn_factor", context.yarn_attn_factor, is_above_0, above_0)?;
    between("yarn_beta_fast", context.yarn_beta_fast, is_above_0, above_0)?;
    between("yarn_beta_slow", context.yarn_beta_slow, is_above_0, above_0)?;
    check_ranges([("yarn_orig_ctx", context.yarn_orig_ctx, 1, i32::MAX.unsigned_abs())])?;
    let yarn = [
        ("yarn_orig_ctx", context.yarn_orig_ctx.is_some()),
        ("yarn_ext_factor", context.yarn_ext_factor.is_some()),
        ("yarn_attn_factor", context.yarn_attn_factor.is_some()),
        ("yarn_beta_fast", context.yarn_beta_fast.is_some()),
        ("yarn_beta_slow", context.yarn_beta_slow.is_some()),
    ];
    let is_other = matches!(context.rope_scaling, Some(RopeScaling::None | RopeScaling::Linear));
    match yarn.iter().find(|(_, is_given)| is_other && *is_given) {
        Some((name, _)) => Err(invalid(format!("{name} has an effect with rope_scaling yarn only"))),
        None => Ok(()),
    }
}

fn check_residency(residency: &ResidencyOptions) -> Result<(), Error> {
    if residency.max_gpu_models_per_device.is_some() && residency.require_gpu_lease == Some(false) {
        return Err(invalid("max_gpu_models_per_device has no effect without require_gpu_lease"));
    }
    check_ranges([("max_gpu_models_per_device", residency.max_gpu_models_per_device, 1, 64)])
}

fn check_scheduler(scheduler: &SchedulerOptions, context: &ContextOptions) -> Result<(), Error> {
    let most_chunk = context.n_batch.unwrap_or(i32::MAX.unsigned_abs());
    check_ranges([
        ("prefill_chunk_size", scheduler.prefill_chunk_size, 1, most_chunk),
        ("max_running_requests", scheduler.max_running_requests, 1, context.n_parallel.unwrap_or(1)),
        ("max_queued_requests", scheduler.max_queued_requests, 0, 1 << 16),
    ])
}

fn check_cache(cache: &CacheOptions) -> Result<(), Error> {
    if cache.retained_prefix_tokens.is_some() && cache.context_shift != Some(true) {
        return Err(invalid("retained_prefix_tokens has no effect without context_shift"));
    }
    let saves = matches!(cache.mode, Some(CacheMode::StateSnapshot | CacheMode::LiveSlotAndSnapshot));
    if !saves && (cache.max_snapshot_entries.is_some() || cache.max_snapshot_bytes.is_some()) {
        return Err(invalid(
            "max_snapshot_entries and max_snapshot_bytes have no effect in a cache mode without snapshots",
        ));
    }
    check_ranges([("max_snapshot_entries", cache.max_snapshot_entries, 1, 4096)])
}

/// Whether there is a projector is the host's to know.
fn check_multimodal(multimodal: &MultimodalOptions) -> Result<(), Error> {
    if multimodal.projector.as_ref().is_some_and(|projector| projector.trim().is_empty()) {
        return Err(invalid("projector of a local endpoint must not be empty"));
    }
    let most = i32::MAX.unsigned_abs();
    let fewest = multimodal.image_min_tokens.unwrap_or(1);
    check_ranges([
        ("image_min_tokens", multimodal.image_min_tokens, 1, most),
        ("image_max_tokens", multimodal.image_max_tokens, fewest, most),
    ])
}

fn check_ranges<const N: usize>(values: [(&str, Option<u32>, u32, u32); N]) -> Result<(), Error> {
    for (name, value, least, most) in values {
        if value.is_some_and(|value| value < least || value > most) {
            return Err(invalid(format!("{name} must be from {least} to {most}")));
        }
    }
    Ok(())
}

fn check_gateway(gateway: &GatewayDescriptor) -> Result<(), Error> {
    check_trimmed("target", &gateway.target)?;
    check_base_url(&gateway.base_url)?;
    for (name, route) in [
        ("routes.query", &gateway.routes.query),
        ("routes.chat", &gateway.routes.chat),
        ("routes.embed", &gateway.routes.embed),
    ] {
        if let Some(route) = route {
            check_route(name, route)?;
        }
    }
    if matches!(gateway.authentication, Authentication::ApiKey(_)) {
        return Err(invalid("api_key is not valid for gateway endpoint descriptors; use bearer or header"));
    }
    check_authentication(&gateway.authentication)?;
    check_headers(&gateway.headers)?;
    check_timeouts(&gateway.timeouts)?;
    check_retries(gateway.retries)?;
    check_unreserved("protocol_options", &gateway.protocol_options)
}

fn check_provider(provider: &ProviderDescriptor) -> Result<(), Error> {
    check_trimmed("model", &provider.model)?;
    if let Some(url) = &provider.base_url {
        check_base_url(url)?;
    }
    match &provider.component {
        // What else it needs is its adapter's to know.
        Some(component) => {
            check_trimmed("component", component)?;
            check_trimmed("provider", &provider.provider)?;
        }
        None => check_own(provider)?,
    }
    if let Some(header) = &provider.correlation_header {
        check_header_name("correlation_header", header)?;
    }
    check_authentication(&provider.authentication)?;
    check_headers(&provider.headers)?;
    check_timeouts(&provider.timeouts)?;
    check_retries(provider.retries)
}

/// Checks a descriptor for one of the adapters that every host has.
fn check_own(provider: &ProviderDescriptor) -> Result<(), Error> {
    let name = match provider.provider.as_str() {
        name @ ("openai" | "anthropic" | "openai_compatible") => name,
        "openai-compatible" => "openai_compatible",
        other => {
            return Err(invalid(format!(
                "provider `{other}` is not known; it is openai, anthropic or openai_compatible, or has a component"
            )));
        }
    };
    let foreign = |field: &str| Err(invalid(format!("{field} is not valid for {name} endpoint descriptors")));
    if provider.version.is_some() && name != "anthropic" {
        return foreign("version");
    }
    if name == "openai_compatible" {
        if provider.base_url.is_none() {
            return Err(invalid("base_url is required for openai_compatible endpoint descriptors"));
        }
        if matches!(provider.authentication, Authentication::ApiKey(_)) {
            return foreign("api_key");
        }
    } else {
        if provider.correlation_header.is_some() {
            return foreign("correlation_header");
        }
        if !provider.headers.is_empty() {
            return foreign("headers");
        }
        if !matches!(provider.authentication, Authentication::ApiKey(_)) {
            return Err(invalid(format!("api_key is required for {name} endpoint descriptors")));
        }
    }
    Ok(())
}

fn check_trimmed(name: &str, value: &str) -> Result<(), Error> {
    if value.is_empty() || value.trim() != value {
        return Err(invalid(format!("{name} must be a non-empty trimmed value")));
    }
    Ok(())
}

/// A base URL is https, or http on loopback, and has nothing that a request adds or a log would leak.
fn check_base_url(text: &str) -> Result<(), Error> {
    let url = Uri::parse(text).map_err(|_| invalid("base_url is not a URL"))?;
    let Some(authority) = url.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(invalid("base_url must be an absolute URL with a host"));
    };
    if authority.has_userinfo() || url.has_query() || url.has_fragment() {
        return Err(invalid("base_url must not contain user information, a query or a fragment"));
    }
    match url.scheme().as_str().to_ascii_lowercase().as_str() {
        "https" => Ok(()),
        "http" if is_loopback(authority.host(), authority.host_parsed()) => Ok(()),
        "http" => Err(invalid("base_url must be https unless its host is loopback")),
        other => Err(invalid(format!("base_url must be https, not {other}"))),
    }
}

fn is_loopback(host: &str, parsed: Host<'_>) -> bool {
    match parsed {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::RegName(_) => host.eq_ignore_ascii_case("localhost"),
        Host::IpvFuture { .. } => false,
    }
}

fn check_route(name: &str, route: &str) -> Result<(), Error> {
    if !route.starts_with('/') || route.contains(['?', '#']) {
        return Err(invalid(format!("{name} must be an absolute path without query and fragment")));
    }
    Ok(())
}

fn check_authentication(authentication: &Authentication) -> Result<(), Error> {
    match authentication {
        Authentication::Header(header) => check_header_name("authentication header", &header.name),
        Authentication::None | Authentication::ApiKey(_) | Authentication::Bearer(_) => Ok(()),
    }
}

fn check_headers(headers: &[Header]) -> Result<(), Error> {
    for header in headers {
        check_header_name("header", &header.name)?;
        if header.value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            return Err(invalid(format!("header `{}` must not contain control characters", header.name)));
        }
    }
    Ok(())
}

/// Checks a header's name: a token of RFC 9110, section 5.6.2.
fn check_header_name(what: &str, name: &str) -> Result<(), Error> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(invalid(format!("{what} `{name}` is not a header name")));
    }
    Ok(())
}

fn check_timeouts(timeouts: &Timeouts) -> Result<(), Error> {
    for (name, value) in [
        ("timeouts.connect", timeouts.connect),
        ("timeouts.request", timeouts.request),
        ("timeouts.idle", timeouts.idle),
    ] {
        if value == Some(0) {
            return Err(invalid(format!("{name} must be positive")));
        }
    }
    Ok(())
}

fn check_retries(retries: Option<u32>) -> Result<(), Error> {
    if retries.is_some_and(|retries| retries > MOST_RETRIES) {
        return Err(invalid(format!("retries must be from 0 to {MOST_RETRIES}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::sipp::host::endpoints::{HeaderCredential, Placement, Routes};
    use crate::bindings::sipp::inference::types::Extension;

    fn text(result: Result<(), Error>) -> String {
        match result {
            Err(Error::InvalidRequest(text)) => text,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn gateway() -> GatewayDescriptor {
        GatewayDescriptor {
            target: "chat".into(),
            base_url: "https://gateway.example/api".into(),
            routes: Routes { query: None, chat: None, embed: None },
            authentication: Authentication::Bearer(1),
            headers: vec![],
            timeouts: Timeouts { connect: None, request: None, idle: None },
            protocol_options: vec![],
            retries: None,
        }
    }

    fn provider(name: &str) -> ProviderDescriptor {
        let compatible = name.starts_with("openai_") || name.starts_with("openai-");
        ProviderDescriptor {
            provider: name.into(),
            model: "some-model".into(),
            base_url: compatible.then(|| "https://models.example/v1".into()),
            authentication: if compatible { Authentication::Bearer(1) } else { Authentication::ApiKey(1) },
            version: None,
            correlation_header: None,
            headers: vec![],
            timeouts: Timeouts { connect: None, request: None, idle: None },
            component: None,
            options: vec![],
            retries: None,
        }
    }

    #[test]
    fn base_urls() {
        for good in [
            "https://a.example",
            "https://a.example/v1/",
            "http://localhost:8080",
            "http://127.0.0.9:1",
            "http://[::1]:80/x",
            "HTTPS://A.EXAMPLE",
        ] {
            assert!(check_base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "gateway",
            "//host",
            "https://",
            "http://a.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "ftp://a.example",
            "https://user@a.example",
            "https://a.example?x=1",
            "https://a.example/#x",
            "http://localhost.example",
            "https://a b",
        ] {
            assert!(matches!(check_base_url(bad), Err(Error::InvalidRequest(_))), "{bad}");
        }
    }

    #[test]
    fn gateways() {
        let check = |gateway| check(&Descriptor::Gateway(gateway));
        assert!(check(gateway()).is_ok());
        assert_eq!(
            text(check(GatewayDescriptor { target: " chat".into(), ..gateway() })),
            "target must be a non-empty trimmed value"
        );
        let routes = Routes { query: Some("v1/query".into()), chat: None, embed: None };
        assert!(
            text(check(GatewayDescriptor { routes, ..gateway() })).starts_with("routes.query must be an absolute path")
        );
        let authentication = Authentication::Header(HeaderCredential { name: "x key".into(), value: 1 });
        assert!(text(check(GatewayDescriptor { authentication, ..gateway() })).contains("is not a header name"));
        assert!(
            text(check(GatewayDescriptor { authentication: Authentication::ApiKey(1), ..gateway() }))
                .contains("api_key")
        );
        let timeouts = Timeouts { connect: None, request: Some(0), idle: None };
        assert_eq!(text(check(GatewayDescriptor { timeouts, ..gateway() })), "timeouts.request must be positive");
        let protocol_options = vec![Extension { name: "stream".into(), value: "false".into() }];
        assert!(text(check(GatewayDescriptor { protocol_options, ..gateway() })).contains("`stream`"));
        let headers = vec![Header { name: "x-team".into(), value: "a\r\nb".into() }];
        assert!(text(check(GatewayDescriptor { headers, ..gateway() })).contains("control characters"));
    }

    #[test]
    fn providers() {
        let check = |provider| check(&Descriptor::Provider(provider));
        for name in ["openai", "anthropic", "openai_compatible", "openai-compatible"] {
            assert!(check(provider(name)).is_ok(), "{name}");
        }
        assert!(text(check(provider("acme"))).starts_with("provider `acme` is not known"));
        let own = |provider| ProviderDescriptor { component: Some("acme.wasm".into()), ..provider };
        assert!(check(own(provider("acme"))).is_ok());
        assert_eq!(text(check(own(provider("")))), "provider must be a non-empty trimmed value");
        let retries = Some(11);
        assert_eq!(text(check(ProviderDescriptor { retries, ..provider("openai") })), "retries must be from 0 to 10");
        assert!(
            text(check(ProviderDescriptor { version: Some("1".into()), ..provider("openai") }))
                .starts_with("version is not valid for openai")
        );
        assert!(
            text(check(ProviderDescriptor { base_url: None, ..provider("openai_compatible") }))
                .starts_with("base_url is required")
        );
        assert!(
            text(check(ProviderDescriptor { authentication: Authentication::None, ..provider("anthropic") }))
                .starts_with("api_key is required")
        );
        let headers = vec![Header { name: "a".into(), value: "b".into() }];
        assert!(text(check(ProviderDescriptor { headers, ..provider("openai") })).starts_with("headers is not valid"));
        assert!(
            text(check(ProviderDescriptor { correlation_header: Some("x y".into()), ..provider("openai_compatible") }))
                .starts_with("correlation_header")
        );
    }

    #[test]
    fn local_models() {
        let unset = || ContextOptions {
            n_ctx: None,
            n_batch: None,
            n_ubatch: None,
            n_parallel: None,
            n_threads: None,
            n_threads_batch: None,
            flash_attention: None,
            cache_type_k: None,
            cache_type_v: None,
            warmup: None,
            embeddings: None,
            pooling: None,
            offload_kqv: None,
            op_offload: None,
            swa_full: None,
            kv_unified: None,
            rope_scaling: None,
            rope_freq_base: None,
            rope_freq_scale: None,
            yarn_orig_ctx: None,
            yarn_ext_factor: None,
            yarn_attn_factor: None,
            yarn_beta_fast: None,
            yarn_beta_slow: None,
        };
        let scheduler = || SchedulerOptions {
            policy: None,
            prefill_chunk_size: None,
            max_running_requests: None,
            max_queued_requests: None,
        };
        let cache = || CacheOptions {
            mode: None,
            context_shift: None,
            retained_prefix_tokens: None,
            max_snapshot_entries: None,
            max_snapshot_bytes: None,
        };
        let multimodal =
            || MultimodalOptions { projector: None, use_gpu: None, image_min_tokens: None, image_max_tokens: None };
        let placement = || Placement {
            backend: None,
            devices: Vec::new(),
            gpu_layers: None,
            split_mode: None,
            main_gpu: None,
            tensor_split: Vec::new(),
            use_mmap: None,
            use_mlock: None,
            check_tensors: None,
            no_extra_bufts: None,
            no_host: None,
        };
        let residency = || ResidencyOptions {
            max_gpu_models_per_device: None,
            require_gpu_lease: None,
            gpu_memory_safety_margin_bytes: None,
        };
        let local = |model: &str, context| {
            check(&Descriptor::Local(LocalDescriptor {
                model: model.into(),
                placement: placement(),
                context,
                multimodal: multimodal(),
                scheduler: scheduler(),
                cache: cache(),
                sampling: sampling::tests::unset(),
                residency: residency(),
            }))
        };
        assert!(local("a.gguf", unset()).is_ok());
        assert!(local("a.gguf", ContextOptions { n_ctx: Some(0), ..unset() }).is_ok());
        assert!(text(local(" ", unset())).starts_with("model of a local endpoint"));
        assert_eq!(
            text(local("a.gguf", ContextOptions { n_parallel: Some(65), ..unset() })),
            "n_parallel must be from 1 to 64"
        );
        assert_eq!(
            text(local("a.gguf", ContextOptions { n_threads: Some(0), ..unset() })),
            "n_threads must be from 1 to 512"
        );
        let context = ContextOptions { n_batch: Some(64), n_ubatch: Some(128), ..unset() };
        assert_eq!(text(local("a.gguf", context)), "n_ubatch must be from 1 to 64");

        let running = SchedulerOptions { max_running_requests: Some(3), ..scheduler() };
        let two = ContextOptions { n_parallel: Some(2), ..unset() };
        assert_eq!(text(check_scheduler(&running, &two)), "max_running_requests must be from 1 to 2");
        let retained = CacheOptions { retained_prefix_tokens: Some(9), ..cache() };
        assert!(text(check_cache(&retained)).starts_with("retained_prefix_tokens has no effect"));
        assert!(check_cache(&CacheOptions { context_shift: Some(true), ..retained }).is_ok());
        let saved = CacheOptions { max_snapshot_bytes: Some(9), ..cache() };
        assert!(text(check_cache(&saved)).starts_with("max_snapshot_entries and max_snapshot_bytes have no effect"));
        assert!(check_cache(&CacheOptions { mode: Some(CacheMode::StateSnapshot), ..saved }).is_ok());
        let sized = MultimodalOptions { image_min_tokens: Some(9), image_max_tokens: Some(8), ..multimodal() };
        assert_eq!(text(check_multimodal(&sized)), "image_max_tokens must be from 9 to 2147483647");

        let main = Placement { main_gpu: Some(1), ..placement() };
        assert!(text(check_placement(&main)).starts_with("main_gpu has an effect with split_mode none"));
        assert!(check_placement(&Placement { split_mode: Some(SplitMode::None), ..main }).is_ok());
        for shares in [vec![0.0, 0.0], vec![1.0, -1.0], vec![f32::NAN]] {
            assert!(
                text(check_placement(&Placement { tensor_split: shares, ..placement() })).starts_with("tensor_split")
            );
        }
        let bases =
            [0.0, -1.0, f32::INFINITY, f32::NAN].map(|base| ContextOptions { rope_freq_base: Some(base), ..unset() });
        assert!(bases.iter().all(|context| text(check_rope(context)) == "rope_freq_base must be finite and above 0"));
        let scale = ContextOptions { rope_freq_scale: Some(1.5), ..unset() };
        assert_eq!(text(check_rope(&scale)), "rope_freq_scale must be above 0 and at most 1");
        let yarn = ContextOptions { yarn_beta_fast: Some(32.0), ..unset() };
        assert!(check_rope(&yarn).is_ok(), "the model may scale by YaRN");
        let linear = ContextOptions { rope_scaling: Some(RopeScaling::Linear), ..yarn };
        assert_eq!(text(check_rope(&linear)), "yarn_beta_fast has an effect with rope_scaling yarn only");
        let none = ResidencyOptions { max_gpu_models_per_device: Some(0), ..residency() };
        assert_eq!(text(check_residency(&none)), "max_gpu_models_per_device must be from 1 to 64");
        let unleased =
            ResidencyOptions { max_gpu_models_per_device: Some(2), require_gpu_lease: Some(false), ..residency() };
        assert!(text(check_residency(&unleased)).ends_with("has no effect without require_gpu_lease"));
    }
}
