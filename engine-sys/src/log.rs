//! What llama.cpp says, kept instead of printed.
//!
//! llama.cpp explains a failure only in its log, so the last warnings and errors of each thread are kept until the
//! caller that failed takes them. Nothing is written anywhere else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;

use crate::sys;

/// Lines kept for a thread.
const KEPT: usize = 16;

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { lines: VecDeque::new(), open: false }) };
}

struct Recent {
    lines: VecDeque<String>,
    /// Whether the last line may be continued by a message of level `CONT`.
    open: bool,
}

/// Starts llama.cpp and takes over its log, once for the process.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // SAFETY: the callback is a function without data, valid for the whole process; nothing else of llama.cpp runs
        // yet, because every way into it goes through here.
        unsafe {
            sys::llama_log_set(Some(receive), std::ptr::null_mut());
            sys::sipp_start();
        }
    });
}

/// Forgets what was kept, before a call whose failure will be explained.
pub(crate) fn clear() {
    RECENT.with_borrow_mut(|recent| recent.lines.clear());
}

/// The kept lines of this thread, oldest first, joined by `; `.
pub(crate) fn take() -> String {
    RECENT.with_borrow_mut(|recent| recent.lines.drain(..).collect::<Vec<_>>().join("; "))
}

/// `message` if there is one, else what llama.cpp logged, else that it said nothing.
pub(crate) fn explain(message: &str) -> String {
    let logged = take();
    match (message.is_empty(), logged.is_empty()) {
        (false, true) => message.to_owned(),
        (false, false) => format!("{message} ({logged})"),
        (true, false) => logged,
        (true, true) => "llama.cpp gave no reason".to_owned(),
    }
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a zero-terminated string that lives during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A log line may arrive while the thread's locals are torn down; then nobody can ask for it any more.
    let _ = RECENT.try_with(|recent| {
        if let Ok(mut recent) = recent.try_borrow_mut() {
            recent.add(level, text.trim_end());
        }
    });
}

impl Recent {
    fn add(&mut self, level: sys::ggml_log_level, text: &str) {
        let continues = level == sys::GGML_LOG_LEVEL_CONT;
        if continues && self.open {
            if let Some(last) = self.lines.back_mut() {
                last.push_str(text);
            }
            return;
        }
        self.open = matches!(level, sys::GGML_LOG_LEVEL_WARN | sys::GGML_LOG_LEVEL_ERROR);
        if !self.open || text.is_empty() {
            return;
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(without_function(text).to_owned());
    }
}

/// The line without the name of the C function that most of llama.cpp's lines begin with.
fn without_function(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_warnings_and_errors_with_their_continuations() {
        let mut recent = Recent { lines: VecDeque::new(), open: false };
        recent.add(sys::GGML_LOG_LEVEL_INFO, "info");
        recent.add(sys::GGML_LOG_LEVEL_CONT, " more info");
        recent.add(sys::GGML_LOG_LEVEL_ERROR, "llama_load: broken");
        recent.add(sys::GGML_LOG_LEVEL_CONT, " in two");
        assert_eq!(recent.lines, ["broken in two"]);
        for line in 0..40 {
            recent.add(sys::GGML_LOG_LEVEL_WARN, &line.to_string());
        }
        assert_eq!(recent.lines.len(), KEPT);
        assert_eq!(recent.lines.back().map(String::as_str), Some("39"));
    }
}
