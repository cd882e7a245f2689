//! The program in a terminal, with a person who types.

use std::fs;
use std::process::Command;

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

#[cfg(target_os = "linux")]
use crate::answers::ENDLESS;
use crate::sipp::sipp;

/// Longer than any answer takes on a loaded machine, in milliseconds.
const PATIENCE: u64 = 120_000;

/// A command in a terminal of its own.
fn start(mut command: Command) -> PtySession {
    command.env("TERM", "xterm");
    spawn_command(command, Some(PATIENCE)).unwrap()
}

/// The same command, so slow that there is time to interrupt it: its two threads wait for each other by spinning, and
/// have one processor.
#[cfg(target_os = "linux")]
fn slow(command: &Command) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    let mut slow = Command::new("taskset");
    slow.args(["-c", &first]).arg(command.get_program()).args(command.get_args()).args(["--threads", "2"]);
    slow
}

/// A conversation that waits for a message.
fn converse(arguments: &[&str]) -> PtySession {
    greeted(sipp(&[&["chat", "DEMO", "--temperature", "0"], arguments].concat()))
}

/// A conversation that waits for a message, by this command.
pub(crate) fn greeted(command: Command) -> PtySession {
    let mut session = start(command);
    session.exp_string("/help lists the commands").unwrap();
    session.exp_string("> ").unwrap();
    session
}

/// Types a line, and waits until the prompt is back. Returns what came between.
pub(crate) fn say(session: &mut PtySession, line: &str) -> String {
    // The editor reads the terminal raw, where Enter is a carriage return.
    session.send(&format!("{line}\r")).unwrap();
    session.flush().unwrap();
    session.exp_string("\r\n").unwrap();
    let answer = session.exp_string("\r\n").unwrap();
    session.exp_string("> ").unwrap();
    answer
}

pub(crate) fn exit_code(mut session: PtySession) -> i32 {
    session.exp_eof().unwrap();
    let WaitStatus::Exited(_, code) = session.process().wait().unwrap() else { panic!("a signal ended the program") };
    code
}

#[test]
fn a_conversation_remembers() {
    let mut session = converse(&[]);
    assert_eq!(say(&mut session, "My name is Tom."), "Nice to meet you, Tom.");
    assert_eq!(say(&mut session, "What is my name?"), "Your name is Tom.");
    session.send_control('d').unwrap();
    assert_eq!(exit_code(session), 0);
}

#[test]
fn commands_change_a_conversation() {
    let mut session = converse(&["--system", "Your name is Max."]);
    assert_eq!(say(&mut session, "What is your name?"), "My name is Max.");
    assert_eq!(say(&mut session, "/reset"), "The conversation is forgotten.");
    assert_eq!(say(&mut session, "/system"), "The model has no instructions.");
    assert_eq!(say(&mut session, "What is your name?"), "My name is Sipp.");
    assert_eq!(say(&mut session, "/rest"), "There is no command /rest. /help lists those there are.");
    session.send("/exit\r").unwrap();
    session.flush().unwrap();
    assert_eq!(exit_code(session), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn interrupting_an_answer_keeps_the_conversation() {
    let mut session = greeted(slow(&sipp(&["chat", "DEMO", "--temperature", "0", "--ignore-eos"])));
    session.send("Count from 1 to 30.\r").unwrap();
    session.flush().unwrap();
    session.exp_string("1, 2").unwrap();
    session.send_control('c').unwrap();
    let rest = session.exp_string("> ").unwrap();
    assert!(!rest.contains("the context is full"), "the answer was not interrupted: {rest}");
    assert_eq!(say(&mut session, "/reset"), "The conversation is forgotten.");
    session.send_control('c').unwrap();
    session.exp_string("Ctrl-C once more").unwrap();
    session.exp_string("> ").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(exit_code(session), 0);
}

#[test]
fn a_failed_answer_keeps_the_conversation() {
    let mut session = converse(&["--ctx-size", "64"]);
    // Longer than a line of the terminal, so that the editor shows it in pieces.
    session.send(&format!("{}\r", "word ".repeat(100))).unwrap();
    session.flush().unwrap();
    session.exp_string("error: the prompt has").unwrap();
    session.exp_string("> ").unwrap();
    assert_eq!(say(&mut session, "What colour is a lemon?"), "A lemon is yellow.");
}

#[test]
#[cfg(target_os = "linux")]
fn interrupting_a_single_answer_ends_the_program() {
    let mut session = start(slow(&sipp(ENDLESS)));
    session.exp_string("1, 2").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(exit_code(session), 130);
}

#[test]
fn a_terminal_shows_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let grammar = folder.path().join("bell.gbnf");
    fs::write(&grammar, r#"root ::= "\x1B[31m\x07""#).unwrap();
    let mut session =
        start(sipp(&["query", "DEMO", "x", "--temperature", "0", "--grammar", grammar.to_str().unwrap()]));
    let shown = session.exp_eof().unwrap();
    assert_eq!(shown.trim_end(), r"\u{1b}[31m\u{7}");
}
