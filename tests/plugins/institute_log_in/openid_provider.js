// An OpenID provider for tests (npm oidc-provider): node openid_provider.js PORT MODULE. It asks nobody anything: login_hint says who logs in.
const [port, module] = process.argv.slice(2);
const { Provider } = await import(module);
const issuer = `http://127.0.0.1:${port}`;
const groups = { anna: ["spica", "owner", "user:bob"], bob: [], carla: { not: "a list" } };
const client = (name, more) => ({ client_id: name, client_secret: `the secret of ${name}`, ...more });

const provider = new Provider(issuer, {
  clients: [
    client("hven", { redirect_uris: ["http://vo.example/login/oidc/ours/back"] }),
    client("machine", { redirect_uris: [], response_types: [], grant_types: ["client_credentials"] }),
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: `${id[0].toUpperCase()}${id.slice(1)}`, groups: groups[id] }),
  }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile");
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({ scope: "", audience: resource, accessTokenFormat: "jwt" }),
    },
  },
  cookies: { keys: ["of tests"] },
  ttl: { ClientCredentials: 600, IdToken: 600, AccessToken: 600, Session: 600, Grant: 600, Interaction: 600 },
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const said = params.login_hint ? { login: { accountId: params.login_hint } } : { error: "access_denied" };
  await provider.interactionFinished(ctx.req, ctx.res, said, { mergeWithLastSubmission: false });
  ctx.respond = false;
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listens"));
