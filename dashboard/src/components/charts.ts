/** All that draws with axes, in one script with the chart library: it is fetched when the first large chart is opened. */
export { DryRunChart } from "./DryRunChart";
export { SeriesPlace } from "./SeriesPlace";
