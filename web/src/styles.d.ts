// Styles that a script brings with it: esbuild puts them beside it.
declare module "*.css";
