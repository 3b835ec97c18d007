/** All places but the overview and those with large charts, in one script: it is fetched once, when the first of them is opened. */
export { Alerts } from "./Alerts";
export { DevicesPlace } from "./DevicesPlace";
export { Rules } from "./Rules";
export { StatusSection } from "./StatusSection";
