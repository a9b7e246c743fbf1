// A list of items, most first, with a bar behind each.

import type { ComponentChildren } from "preact";
import { grouped } from "../data/digits";
import type { RankedItem } from "../data/wire";
import { to } from "../router";

interface Props<T extends RankedItem> {
  items: T[];
  type: string;
  /** What stands at the right of a row; its count by default. */
  figure?: (item: T) => ComponentChildren;
}

export function Ranking<T extends RankedItem>({ items, type, figure }: Props<T>) {
  const most = Math.max(1, ...items.map((item) => Number(item.count)));
  const params: Record<string, string> = type === "view" ? {} : { type };
  return (
    <ol class="ranking">
      {items.map((item) => (
        <li key={item.item}>
          <span class="bar" style={{ width: `${(Number(item.count) / most) * 100}%` }} />
          <a href={to.item(item.item, params)}>
            <span class="name">{item.title ?? item.item}</span>
            {item.title !== undefined && <span class="id">{item.item}</span>}
          </a>
          <span class="figure">{figure ? figure(item) : grouped(item.count)}</span>
        </li>
      ))}
    </ol>
  );
}
