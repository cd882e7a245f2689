//! Lists the devices that this build of the engine finds.

fn main() {
    println!("backends: {}", engine_sys::backends().join(", "));
    for device in engine_sys::devices() {
        println!("{device:?}");
    }
}
