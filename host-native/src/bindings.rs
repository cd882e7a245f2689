//! Rust types of the contracts in `wit/`, generated.

mod generated {
    wasmtime::component::bindgen!({
        path: ["../wit/inference", "../wit/host", "../wit/client"],
        world: "sipp:client/app",
        imports: { default: trappable },
        exports: { default: async | store },
        with: { "sipp:host/endpoints.endpoint": crate::switchboard::Endpoint },
    });
}

pub(crate) use generated::exports::sipp::client::client;
pub(crate) use generated::sipp::host::endpoints;
pub(crate) use generated::sipp::inference::types;
pub(crate) use generated::{App, AppPre};
