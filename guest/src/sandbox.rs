//! The namespace sandbox: outer namespaces with the agent, inner ones with the commands.
