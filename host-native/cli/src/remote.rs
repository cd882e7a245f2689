//! Flags that name an endpoint elsewhere: a provider's model, or a target of a gateway.

use std::env;

use clap::{ArgMatches, Args, Id};
use sipp::{
    Authentication, Credential, Descriptor, EndpointRef, Extension, GatewayDescriptor, ProviderDescriptor, Secret,
    SippClient,
};

use crate::choice;
use crate::exit::Failure;

/// The groups of flags that only local models understand.
const LOCAL: [&str; 6] = ["LoadArgs", "DeviceArgs", "RopeArgs", "LocalTextArgs", "SamplingArgs", "VectorArgs"];

/// The group and the flags among them that a gateway hands to a local model of its own. The others say how a model is
/// loaded, which is in its configuration.
const HANDED_ON: [&str; 4] = ["SamplingArgs", "grammar", "no_normalize", "query"];

/// Refuses flags that would have no effect at the endpoint elsewhere that a command line names.
///
/// clap's own conflict with a group would list all of its forty flags, and not those that were given.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let is_given = |id| matches.try_contains_id(id).unwrap_or(false);
    if !is_given("elsewhere") {
        return Ok(());
    }
    let is_gateway = is_given("gateway");
    let is_refused = |id: &str| !(is_gateway && HANDED_ON.contains(&id));
    let groups = LOCAL.into_iter().filter(|group| is_refused(group));
    let given = groups.filter_map(|group| matches.try_get_many::<Id>(group).ok().flatten()).flatten();
    let refused = given.map(Id::as_str).filter(|id| is_refused(id));
    let flags: Vec<_> = refused.map(|id| format!("--{}", id.replace('_', "-"))).collect();
    if flags.is_empty() {
        return Ok(());
    }
    let flags = flags.join(" and ");
    Err(Failure::Usage(if is_gateway {
        format!("only a model of this machine takes {flags}; a gateway's configuration says how it loads its models")
    } else {
        format!("only local models take {flags}; --option sets what a provider takes")
    }))
}

/// Who answers in place of a model of this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Remote")]
pub(crate) struct RemoteArgs {
    /// Who has the model: openai, anthropic, openai_compatible, or whom --component speaks to.
    #[arg(long, value_name = "NAME", requires = "model_name", group = "elsewhere")]
    provider: Option<String>,
    /// The model's name at the provider.
    #[arg(long = "model", id = "model_name", value_name = "NAME", requires = "provider")]
    model: Option<String>,
    /// Environment variable that holds the key [default: OPENAI_API_KEY or ANTHROPIC_API_KEY, by the provider].
    #[arg(long, value_name = "VARIABLE", requires = "provider")]
    api_key_env: Option<String>,
    /// The provider's address; openai_compatible has none of its own [default: the provider's].
    #[arg(long, value_name = "URL", requires = "provider")]
    base_url: Option<String>,
    /// File with an adapter for the provider: a component of the world sipp:inference/provider.
    #[arg(long, value_name = "FILE", requires = "provider", hide_short_help = true)]
    component: Option<String>,
    /// The address of a Sipp gateway.
    #[arg(long, value_name = "URL", requires = "target", group = "elsewhere")]
    gateway: Option<String>,
    /// The target's name on the gateway.
    #[arg(long, value_name = "NAME", requires = "gateway")]
    target: Option<String>,
    /// Environment variable that holds the token for the gateway.
    #[arg(long, value_name = "VARIABLE", requires = "gateway")]
    token_env: Option<String>,
    /// A field of the provider's or the gateway's own, such as seed=7: JSON, or else text; may be given several times.
    #[arg(
        long, value_name = "NAME=VALUE", hide_short_help = true, requires = "elsewhere",
        value_parser = choice::extension,
    )]
    option: Vec<Extension>,
    /// How often to ask again after a failure that can pass, before the answer begins [default: 2].
    #[arg(long, value_name = "N", hide_short_help = true, requires = "elsewhere")]
    retries: Option<u32>,
}

/// Fields of a request that only an endpoint elsewhere understands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreign {
    pub(crate) endpoint_options: Vec<Extension>,
    pub(crate) provider_options: Vec<Extension>,
}

impl RemoteArgs {
    /// Whether an endpoint elsewhere is named.
    pub(crate) fn is_named(&self) -> bool {
        self.provider.is_some() || self.gateway.is_some()
    }

    /// The words of the command line: the first is a model's file, unless an endpoint elsewhere is named.
    pub(crate) fn split(
        &self,
        first: Option<String>,
        rest: Vec<String>,
    ) -> Result<(Option<String>, Vec<String>), Failure> {
        if self.is_named() {
            return Ok((None, first.into_iter().chain(rest).collect()));
        }
        if first.is_none() {
            let text = "there is no model; name a GGUF file, or --provider and --model, or --gateway and --target";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok((first, rest))
    }

    /// Opens the endpoint.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where a variable is not set, and whatever [`SippClient::add`] refuses.
    pub(crate) async fn open(self) -> Result<(SippClient, EndpointRef, Foreign), Failure> {
        let client = SippClient::new()?;
        let options = self.option.clone();
        let name = self.target.clone().or_else(|| self.provider.clone()).unwrap_or_default();
        let (descriptor, foreign) = if self.gateway.is_some() {
            (self.gateway(&client)?, Foreign { endpoint_options: options, ..Foreign::default() })
        } else {
            (self.provider(&client)?, Foreign { provider_options: options, ..Foreign::default() })
        };
        let endpoint = client.add(&name, descriptor).await?;
        Ok((client, endpoint, foreign))
    }

    fn gateway(self, client: &SippClient) -> Result<Descriptor, Failure> {
        let token = self.token_env.map(|name| credential(client, name, "--token-env")).transpose()?;
        let descriptor = GatewayDescriptor {
            authentication: token.map_or(Authentication::None, Authentication::Bearer),
            retries: self.retries,
            ..GatewayDescriptor::new(self.target.unwrap_or_default(), self.gateway.unwrap_or_default())
        };
        Ok(descriptor.into())
    }

    fn provider(self, client: &SippClient) -> Result<Descriptor, Failure> {
        let provider = self.provider.unwrap_or_default();
        let (usual, is_compatible) = match provider.as_str() {
            // It says itself where the key goes, so it gets only one that was meant for it.
            _ if self.component.is_some() => (None, false),
            "openai" => (Some("OPENAI_API_KEY"), false),
            "anthropic" => (Some("ANTHROPIC_API_KEY"), false),
            "openai_compatible" | "openai-compatible" => (None, true),
            _ => (None, false),
        };
        let variable = self.api_key_env.or(usual.map(str::to_owned));
        let key = variable.map(|name| credential(client, name, "--api-key-env")).transpose()?;
        let authentication = match key {
            None => Authentication::None,
            Some(key) if is_compatible => Authentication::Bearer(key),
            Some(key) => Authentication::ApiKey(key),
        };
        let descriptor = ProviderDescriptor {
            component: self.component,
            base_url: self.base_url,
            authentication,
            retries: self.retries,
            ..ProviderDescriptor::new(provider, self.model.unwrap_or_default())
        };
        Ok(descriptor.into())
    }
}

/// The credential in an environment variable, which `flag` could have named.
///
/// The library reads it, and refuses one that is missing too; only the program can say which flag to use.
fn credential(client: &SippClient, variable: String, flag: &str) -> Result<Credential, Failure> {
    if env::var_os(&variable).is_none() {
        let text = format!("the environment variable `{variable}` is not set; set it, or name another by {flag}");
        return Err(Failure::Usage(text));
    }
    Ok(client.credential(Secret::env(variable)))
}
