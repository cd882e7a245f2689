//! `sipp chat`: one answer, or a conversation with a person at a terminal.

use std::ops::ControlFlow;

use clap::Args;
use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use sipp::Message;

use crate::args::{ModelArgs, OutputArgs, TextArgs};
use crate::endpoint::Endpoint;
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};
use crate::remote::RemoteArgs;
use crate::screen::tell;
use crate::{input, text};

const PROMPT: &str = "> ";

const USAGE: &str = "\
sipp chat [OPTIONS] <FILE> [PROMPT]
       sipp chat [OPTIONS] --provider <NAME> --model <NAME> [PROMPT]
       sipp chat [OPTIONS] --gateway <URL> --target <NAME> [PROMPT]";

/// Answers a message, or holds a conversation.
///
/// Without PROMPT in a terminal, it is a conversation: the model sees all of it each time. /help lists its commands.
/// Ctrl-C stops an answer and not the conversation; at the prompt, Ctrl-D or Ctrl-C twice ends it.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several. None with --provider or --gateway.
    #[arg(value_name = "FILE")]
    model: Option<String>,
    /// The message; `-` reads it from standard input.
    ///
    /// Without it, standard input is read where that is not a terminal. One line break at its end is left out.
    prompt: Option<String>,
    /// Instructions for the model, before the conversation.
    #[arg(long, value_name = "TEXT", help_heading = "Answer")]
    system: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    load: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Runs `sipp chat`.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { model, remote, load, prompt, system, text, output } = arguments;
    let (model, prompt) = remote.split(model, prompt.into_iter().collect())?;
    let prompt = input::only(prompt).and_then(input::prompt)?;
    if prompt.is_none() && output.json {
        return Err(input::missing());
    }
    let endpoint = Endpoint::open(model, &load, remote, text, output.quiet).await?;
    let mut conversation = Conversation { endpoint, system, messages: Vec::new(), output: Output::new(output) };
    match prompt {
        Some(prompt) => conversation.answer(prompt).await,
        None => conversation.hold().await.map(|()| Exit::Success),
    }
}

/// What was said so far, and how the next answer is asked for.
struct Conversation {
    endpoint: Endpoint,
    system: Option<String>,
    messages: Vec<Message>,
    output: Output,
}

impl Conversation {
    /// Reads messages and answers them until the person ends it.
    async fn hold(&mut self) -> Result<(), Failure> {
        // Lines are edited on the terminal itself, wherever answers go.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let mut editor = DefaultEditor::with_config(config)?;
        tell("Type a message. /help lists the commands, Ctrl-D ends the conversation.");
        let mut pressed = false;
        loop {
            // It blocks this thread, on which nothing else runs while a person types.
            match editor.readline(PROMPT) {
                Ok(line) => {
                    pressed = false;
                    if self.take(&line).await?.is_break() {
                        return Ok(());
                    }
                }
                Err(ReadlineError::Interrupted) if !pressed => {
                    pressed = true;
                    tell("Ctrl-C once more ends the conversation.");
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does what a line says. Breaks when it ends the conversation.
    async fn take(&mut self, line: &str) -> Result<ControlFlow<()>, Failure> {
        match Command::parse(line) {
            Some(Command::Exit) => return Ok(ControlFlow::Break(())),
            Some(Command::Help) => tell(HELP),
            Some(Command::Reset) => {
                self.messages.clear();
                tell("The conversation is forgotten.");
            }
            Some(Command::System("")) => {
                self.system = None;
                tell("The model has no instructions.");
            }
            Some(Command::System(text)) => {
                self.system = Some(text.to_owned());
                tell("The model has these instructions from here on.");
            }
            Some(Command::Unknown(name)) => tell(&format!("There is no command /{name}. /help lists those there are.")),
            None if line.trim().is_empty() => {}
            None => match self.answer(line.trim().to_owned()).await {
                Ok(_) | Err(Failure::Interrupted) => {}
                // The next message may do better.
                Err(failure @ Failure::Client(_)) => output::report(&failure, false),
                Err(failure) => return Err(failure),
            },
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Asks for an answer to what was said and this message, and shows it.
    async fn answer(&mut self, message: String) -> Result<Exit, Failure> {
        let mut said = Message::user(message);
        let images = self.endpoint.take_images();
        said.content.splice(0..0, images);
        self.messages.push(said);
        let system = self.system.as_ref().map(Message::system);
        let messages = system.into_iter().chain(self.messages.iter().cloned()).collect();
        let answered = text::stream(self.endpoint.chat(messages), &mut self.output, self.endpoint.limit()).await;
        match &answered {
            Ok(response) if !response.text.is_empty() => self.messages.push(response.message.clone()),
            // Templates want turns to alternate, so that a message without an answer was not said.
            Ok(_) | Err(_) => drop(self.messages.pop()),
        }
        answered.map(|response| text::exit(&response))
    }
}

/// What a person may type instead of a message.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Exit,
    Reset,
    System(&'a str),
    Help,
    Unknown(&'a str),
}

const HELP: &str = "\
/system TEXT  instruct the model from here on; without TEXT, no longer
/reset        forget the conversation, but not the instructions
/exit         end the conversation, as Ctrl-D does
/help         show this
Ctrl-C stops an answer. A message that begins with a slash needs a space before it.";

impl<'a> Command<'a> {
    /// The command that a line is, if it is one.
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.strip_prefix('/')?;
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        Some(match name {
            "exit" | "quit" => Self::Exit,
            "reset" => Self::Reset,
            "system" => Self::System(rest.trim()),
            "help" => Self::Help,
            _ => Self::Unknown(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_a_command() {
        let table = [
            ("/exit", Some(Command::Exit)),
            ("/reset ", Some(Command::Reset)),
            ("/system  Be brief. ", Some(Command::System("Be brief."))),
            ("/system", Some(Command::System(""))),
            ("/reste", Some(Command::Unknown("reste"))),
            (" /exit", None),
            ("What is 1/2?", None),
        ];
        for (line, command) in table {
            assert_eq!(Command::parse(line), command, "{line}");
        }
    }
}
