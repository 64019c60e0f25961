// Modules that the bundler makes.

/** Styles that a script brings with it: esbuild puts them beside it. */
declare module "*.css";

/** The panes of plug-in packages. */
declare module "hven:panes" {
  export const PACKAGE_PANES: Record<string, () => Promise<{ mount: (element: any, workspace: any) => unknown }>>;
}
