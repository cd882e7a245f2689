//! Rust types of the contracts in `wit/`, generated.

mod generated {
    wasmtime::component::bindgen!({
        path: ["../wit/wasi-clocks", "../wit/wasi-http", "../wit/inference", "../wit/host", "../wit/client"],
        world: "sipp:client/app",
        imports: { default: trappable },
        exports: { default: async | store },
        with: { "sipp:host/endpoints.endpoint": crate::switchboard::Endpoint },
    });
}

/// The world of adapters. Its words are the client's own types, so that nothing is copied between the two.
pub(crate) mod adapter {
    wasmtime::component::bindgen!({
        path: ["../wit/wasi-clocks", "../wit/wasi-http", "../wit/inference"],
        world: "sipp:inference/provider",
        imports: { default: trappable },
        exports: { default: async | store },
        with: {
            "sipp:inference/types": crate::bindings::types,
            "wasi:http": wasmtime_wasi_http::p3::bindings::http,
            "wasi:clocks": wasmtime_wasi_http::p3::bindings::clocks,
        },
    });

    pub(crate) use self::exports::sipp::inference::adapter::Description;
    pub(crate) use self::sipp::inference::{endpoint, log};
}

pub(crate) use generated::exports::sipp::client::client;
pub(crate) use generated::sipp::host::endpoints;
#[expect(unreachable_pub, reason = "the adapters' bindings export it again")]
pub use generated::sipp::inference::types;
pub(crate) use generated::{App, AppPre};
