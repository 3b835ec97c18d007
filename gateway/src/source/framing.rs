//! Bytes to lines: newline framing with a maximum length that finds its way back after garbage.
