// A certified OpenID provider for tests: node provider.mjs PACKAGES PORT CALLBACK SECRET
// Everybody signs in with any password; a person's groups follow from the name.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, port, callback, secret] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(createRequire(`${packages}/`).resolve("oidc-provider")));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "millstream", client_secret: secret, redirect_uris: [callback] }],
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id, groups: [id.split("-")[0]] }) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
