// Written by `pubsub schema export`. Do not edit.

/** Uses every type and attribute of serde and schemars. */
export namespace Everything {
  export type Adjacent = {
    t: "Unit";
  } | {
    c: number;
    t: "Newtype";
  } | {
    c: {
      a?: number | null;
    };
    t: "Struct";
  };
  export type External = "Unit" | "Commented" | {
    Newtype: number;
  } | {
    Tuple: [number, string];
  } | {
    Struct: {
      a: number;
    };
  };
  export type Meters = number;
  export type Payment = {
    kind: "card";
    number: string;
  } | Transfer & {
    kind: "transfer";
  } | {
    kind: "cash";
  };
  export type Transfer = {
    iban: string;
  };
  export type Tree = {
    children: Array<Tree>;
    value: number;
  };
  export type Untagged = number | string | {
    a: Array<number>;
  };
  /** Uses every type and attribute of serde and schemars. */
  export type Payload = {
    adjacent?: Adjacent | null;
    any: unknown;
    array: Array<number>;
    by_name: Record<string, Array<boolean>>;
    by_number: Record<string, string | null>;
    external: Array<External>;
    flag: boolean;
    large: [number, number, number, number];
    letter: string;
    list: Array<number | null>;
    newtype: Meters;
    nothing: null;
    payment?: Payment | null;
    rare?: number | null;
    real: [number, number];
    set: Array<string>;
    small: [number, number, number, number];
    text: string;
    tree: Tree;
    untagged: Array<Untagged>;
    x: number;
    y?: number | null;
  };
}

/** Sent when an order is paid. */
export namespace OrderPaidV2 {
  export type Address = {
    city: string;
    zip: [number, string];
  };
  export type Line = {
    article: string;
    pieces: number;
  };
  export type Payment = {
    kind: "card";
    number: string;
  } | Transfer & {
    kind: "transfer";
  } | {
    kind: "cash";
  };
  export type Transfer = {
    iban: string;
  };
  /**
   * Sent when an order
   * is paid.
   */
  export type Payload = {
    coupon?: string | null;
    /** Its number. */
    id: number;
    lines: Array<Line>;
    payment: Payment;
    "ship-to"?: Address | null;
  };
}

/** The payload of each channel, in its newest version. */
export interface Channels {
  "everything": Everything.Payload;
  "order.paid": OrderPaidV2.Payload;
}

export type Channel = keyof Channels;

/** An event, with what is published beside its payload. */
export type Event =
  | { channel: "everything"; version?: 1; payload: Everything.Payload; key?: string | null; headers?: Record<string, unknown> | null }
  | { channel: "order.paid"; version: 2; payload: OrderPaidV2.Payload; key?: string | null; headers?: Record<string, unknown> | null };
