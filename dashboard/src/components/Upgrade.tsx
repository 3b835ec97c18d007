/** Says that the gateway was upgraded while this page was open: what it says may have changed. */
import { useRef } from "preact/hooks";
import { useTopic } from "../hooks";
import { Icon } from "./Icon";

export function Upgrade() {
  const { version, isKnown } = useTopic("inventory");
  // A page that was built by itself is of the version that it meets first.
  const own = useRef<string | null>(GATEWAY_VERSION);
  if (isKnown && version !== "") own.current ??= version;
  if (!isKnown || version === "" || version === own.current) return null;
  return (
    <p class="banner upgrade">
      <Icon name="info" />
      <span>
        The gateway is version {version} now, and this page is of version {own.current}.
      </span>
      <button type="button" onClick={() => location.reload()}>
        Reload the page
      </button>
    </p>
  );
}
